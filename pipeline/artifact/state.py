"""What the workflow can know of an artifact before running: cheap enough to ask at parse time."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.canonical import digest
from pipeline.artifact.code import code_files
from pipeline.artifact.files import ArtifactError, sha256_of
from pipeline.artifact.fingerprint import Identity, difference, sources
from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import MANIFEST, RECORD
from pipeline.artifact.publish import SHORT, declare
from pipeline.artifact.verify import damage, recorded

SMALL_BYTES = 64 << 20
"""Reading so much at parse time takes a tenth of a second."""


def planned_identity(
    step: str,
    module: str,
    settings: Mapping[str, Any],
    inputs: Sequence[tuple[str, Path]],
    files: Sequence[Path] = (),
) -> Identity | None:
    """What an artifact would be made of now: content decides, never the clock.

    The inputs are given as (role, folder); the caller sees to it that they are settled. Files of theirs that were lost
    since do not matter: made again, they are the same. None where it cannot be known before running: an input is not
    there, or the user's own files are too large to be read now (the step itself finds out).
    """
    try:
        if sum(path.stat().st_size for path in files) > SMALL_BYTES:
            return None
        known = sources(((role, Artifact.open(path / RECORD)) for role, path in inputs), files)
    except (ArtifactError, OSError):
        return None
    return Identity(step, settings, code_files(module), known)


def files_stamp(files: Sequence[Path]) -> str:
    """What tells that the user's own files changed: their content where they are small, else their sizes and times.

    Where they lie is not part of it. A false alarm (large files, touched or copied) costs one reading of them.
    """
    stats = [path.stat() for path in files]
    if sum(stat.st_size for stat in stats) <= SMALL_BYTES:
        return digest([sha256_of(path) for path in files])
    return digest([[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in zip(files, stats, strict=True)])


def repairs_wanted(folder: Path, planned: Identity | None) -> tuple[str, ...]:
    """Why an artifact must be made again where Snakemake cannot see it: lost files (by size), or another origin.

    This text stands in the rule's `params`, so it makes the rule run, and the step records it: afterwards both agree
    again. With no reason it is what was recorded. A folder without a record needs none: its manifest is missing.
    """
    record = recorded(folder)
    if record is None:
        return ()
    if planned is not None and planned.fingerprint != record.fingerprint:
        return (f"was made with {difference(record, planned)}, now {planned.fingerprint[:SHORT]}",)
    return (*record.repairs, *(f"{path} {what}" for path, what in damage(folder, record)))


def restore_manifest(results: Path, name: str) -> None:
    """Write a settled artifact's lost manifest again from its record, unless a process is at work on it."""
    folder = results / name
    if (folder / MANIFEST).exists() or not (folder / RECORD).exists():
        return
    # Results may be read-only: then it stays so.
    with contextlib.suppress(OSError), exclusive(results, name, wait=False):
        record = recorded(folder)
        if record is not None:
            declare(folder, record)
