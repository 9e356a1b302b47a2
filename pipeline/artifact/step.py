"""The contract of a step: do nothing if the artifact is there, else build it aside and swap it in."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.change import changes, summary
from pipeline.artifact.code import code_files
from pipeline.artifact.cost import EXPENSIVE_SECONDS, Meter, seconds_taken, versions
from pipeline.artifact.files import HASHED_BYTES, ArtifactError
from pipeline.artifact.fingerprint import Identity, sources
from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import MANIFEST, RECORD, Manifest, read_manifest
from pipeline.artifact.publish import (
    building_folder,
    declare,
    entries,
    seal,
    swap_in,
)
from pipeline.artifact.state import files_stamp, find_made
from pipeline.artifact.verify import damage, recorded

Builder = Callable[[Build], Mapping[str, Any]]
"""Writes an artifact's files below `build.folder` and returns its counts."""


@dataclass(frozen=True)
class Request:
    """One run of a step, as its rule asks for it."""

    step: str
    module: str
    """The step's module, whose import closure is its code."""
    settings: Mapping[str, Any]
    inputs: Sequence[tuple[str, Path]]
    """Roles and manifests."""
    output: Path
    """The manifest to write."""
    results: Path
    files: Sequence[Path] = ()
    """The user's own files that the step reads."""
    execution: Mapping[str, Any] = field(default_factory=dict)
    keeps: bool = False
    """The step leaves files alone that a damaged copy of the same artifact still holds whole."""
    resumes: bool = False
    """The step continues an unfinished run by itself, and old runs are kept aside: training."""
    repeatable: bool = True
    """Equal identities give equal bytes: true of all steps but those that tell what others cost."""
    rebuild: bool = False
    """An expensive finished artifact may be built again."""

    @property
    def folder(self) -> Path:
        """The artifact's folder."""
        return self.output.parent

    @property
    def name(self) -> str:
        """The artifact's name below the results folder."""
        # Links are kept as they are: results may be spread over disks.
        folder, results = (Path(os.path.abspath(path)) for path in (self.folder, self.results))  # noqa: PTH100
        if self.output.name != MANIFEST or results not in folder.parents:
            raise ArtifactError(
                f"{self.output} is no manifest below {self.results}; write {self.results}/<name>/{MANIFEST}"
            )
        return folder.relative_to(results).as_posix()


def run(request: Request, builder: Builder) -> Manifest:
    """Make the artifact of a request, or find it made, and write its manifest.

    Raises ArtifactError if an input cannot be trusted or an expensive artifact would be made again unasked.
    """
    with exclusive(request.results, request.name):
        inputs = [(role, Artifact.open(path)) for role, path in request.inputs]
        stamp = files_stamp(request.files)  # before they are read: what changes meanwhile is read again
        identity = Identity(request.step, request.settings, code_files(request.module), sources(inputs, request.files))
        before = recorded(request.folder)
        found = _already_there(request, identity, stamp)
        if found is None:
            _refuse_to_rebuild(request, identity)
            found = _build(request, identity, stamp, inputs, builder)
        declare(request.folder, found)
    if request.repeatable and before and _differs_though_it_should_not(before, found):
        raise ArtifactError(
            f"{request.name} was made again with other bytes than before, by other program versions or another device. "
            "Run the same command again, so that what is made of it follows"
        )
    return found


def _already_there(request: Request, identity: Identity, stamp: str) -> Manifest | None:
    """The record of complete data with this fingerprint, put in place."""
    found = find_made(request.folder, identity, HASHED_BYTES)
    if found is None:
        return None
    folder, record = found
    if record.stamp != stamp:
        record = record.model_copy(update={"stamp": stamp})
        seal(folder, record)
    if folder != request.folder:
        swap_in(folder, request.folder, keep_replaced=request.resumes)
    return record


def _differs_though_it_should_not(before: Manifest, after: Manifest) -> bool:
    """Whether an artifact was repaired into another one, while what is made of it was left alone."""
    return before.fingerprint == after.fingerprint and before.content != after.content


def _refuse_to_rebuild(request: Request, identity: Identity) -> None:
    if request.rebuild or not request.resumes or not (request.folder / RECORD).exists():
        return
    record = read_manifest(request.folder / RECORD)  # a broken one may be that of weeks of work: it is an error
    seconds = seconds_taken(record)
    if record.fingerprint != identity.fingerprint and seconds > EXPENSIVE_SECONDS:
        found = changes(record, identity.settings, identity.code_files, identity.inputs)
        raise ArtifactError(unasked(request.name, seconds, summary(found)))


def unasked(name: str, seconds: float, why: str) -> str:
    """The words that refuse to rebuild an expensive artifact unasked, with the ways on."""
    return (
        f"{name} is finished and took {seconds / 3600:.1f} hours, but it was made differently: {why}. "
        "It is never rebuilt silently: put that back; or, if it is as good as new, say so with "
        f"`python -m pipeline accept {name} --reason ...`; or ask for another run with --config rebuild={name}: "
        "the old one is then kept aside"
    )


def _build(
    request: Request, identity: Identity, stamp: str, inputs: list[tuple[str, Artifact]], builder: Builder
) -> Manifest:
    building = building_folder(request.folder, identity.run)
    kept = _prepare(request, identity, building)
    meter = Meter()
    roles = sorted({role for role, _ in inputs})
    build = Build(
        folder=building,
        inputs={role: tuple(one for found, one in inputs if found == role) for role in roles},
        files=tuple(request.files),
        execution=request.execution,
        code=identity.code,
        kept=kept,
    )
    counts = builder(build)
    manifest = Manifest(
        **identity.fields(),
        name=request.name,
        files=entries(building),
        counts=dict(counts),
        cost=meter.read(),
        versions=versions(),
        stamp=stamp,
    )
    seal(building, manifest)
    swap_in(building, request.folder, keep_replaced=request.resumes)
    return manifest


def _prepare(request: Request, identity: Identity, building: Path) -> frozenset[str]:
    """Make the folder to build in. Returns the files in it that are already as they should be."""
    record = recorded(request.folder)
    if record is not None and record.fingerprint == identity.fingerprint and (request.keeps or request.resumes):
        return _reopen(request.folder, building, record)
    if building.exists() and not request.resumes:
        shutil.rmtree(building)  # half-written by a process that died
    building.mkdir(parents=True, exist_ok=True)
    (building / RECORD).unlink(missing_ok=True)
    return frozenset()


def _reopen(folder: Path, building: Path, record: Manifest) -> frozenset[str]:
    """Turn a damaged artifact back into a folder being built, without its broken files."""
    broken = dict(damage(folder, record, HASHED_BYTES))
    if building.exists():
        shutil.rmtree(building)
    folder.rename(building)  # with its record, which is damaged: a kill from here on loses nothing
    (building / RECORD).unlink()
    for path in broken:
        (building / path).unlink(missing_ok=True)
    return frozenset(entry.path for entry in record.files if entry.path not in broken)
