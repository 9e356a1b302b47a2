"""Registering something that was made elsewhere as an artifact of this workflow, so that its step does not run."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.artifact.files import ArtifactError
from pipeline.artifact.fingerprint import Identity
from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import MANIFEST, RECORD, Manifest
from pipeline.artifact.publish import WORKING, building_folder, declare, entries, seal, swap_in
from pipeline.graph import Graph
from pipeline.manage.accept import acceptance, planned_now
from pipeline.manage.holder import lease_holder
from pipeline.manage.offer import Offer, offer
from pipeline.manage.transfer import bring, give_up
from pipeline.train.checkpoints import COMPLETE

ADOPTABLE = ("tokenizer", "tokenize", "train")
"""The steps whose artifacts people bring along: what they make is costly, and checked before it is used."""


def adopt(graph: Graph, source: Path, name: str, why: str, move: bool = False) -> str:
    """Make what lies at `source` the artifact `name`, or a checkpoint there the point from which training goes on.

    Returns what follows, in a sentence. What stood in its place is kept aside. Raises ArtifactError that says why it
    is not taken; then nothing has changed.
    """
    _require_sense(graph, source, name, why, move)
    try:
        with exclusive(graph.results, name, wait=False):
            planned = planned_now(graph, name)
            _require_rest(building_folder(graph.folder(name), planned.run) / WORKING)
            if (source / COMPLETE).exists():
                # With torch, which the others do not need.
                from pipeline.manage.adopt_checkpoint import adopt_checkpoint

                return adopt_checkpoint(graph, planned, source, name, why, move)
            return _adopt(graph, planned, source, name, why, move)
    except BlockingIOError:
        raise ArtifactError(f"{name} is being made now; wait for that, or end it, then adopt") from None


def _adopt(graph: Graph, planned: Identity, source: Path, name: str, why: str, move: bool) -> str:
    found = offer(source, graph.nodes[name], planned)
    folder = graph.folder(name)
    building = folder.with_name(f"{folder.name}.building-adopted")
    shutil.rmtree(building, ignore_errors=True)  # half-brought by a process that died
    try:
        # A tokenizer without a record is a file that people edit in place: a link to it would change too.
        bring(found.files, building, link=found.record is not None)
        bring(found.logs, building, link=False)  # training may append to them
        manifest = _manifest(found, planned, name, building, why)
        seal(building, manifest)
        swap_in(building, folder, keep_replaced=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    declare(folder, manifest)
    if move:
        give_up(_originals(found), found.folder)
    return f"{name} is adopted as {manifest.fingerprint[:12]}: its step does not run"


def _manifest(found: Offer, planned: Identity, name: str, building: Path, why: str) -> Manifest:
    """The record of what was brought. Raises ArtifactError if it is not what its own record says."""
    measured = entries(building)
    expected = {entry.path: entry for entry in found.entries or measured}
    for entry in measured:
        if entry != expected[entry.path]:
            raise ArtifactError(
                f"{found.folder / entry.path} has other bytes than when it was made (SHA-256); "
                "copy the artifact again from where it was made"
            )
    return Manifest(
        **planned.fields(),
        name=name,
        files=measured,
        counts=dict(found.counts),
        cost=found.record.cost if found.record else {},
        versions=found.record.versions if found.record else {},
        accepted=(*found.accepted, acceptance(f"{why} (adopted from {found.folder.name})", found.fingerprint)),
    )


def _originals(found: Offer) -> Mapping[str, Path]:
    """What goes when an offer is moved: its files, its logs and its manifests."""
    records = {one: found.folder / one for one in (MANIFEST, RECORD)} if found.record else {}
    return {**found.files, **found.logs, **records}


def _require_sense(graph: Graph, source: Path, name: str, why: str, move: bool) -> None:
    """Raises ArtifactError if this cannot be meant."""
    if not why.strip():
        raise ArtifactError("--reason is empty; say why it is good and where it is from, for those who find it later")
    adoptable = [one for step in ADOPTABLE for one in graph.named(step)]
    if name not in adoptable:
        what = f"is made by the step {graph.nodes[name].step}" if name in graph.nodes else "is not of this workflow"
        raise ArtifactError(f"--as {name!r} {what}, so it cannot be adopted; {', '.join(adoptable)} can")
    if not source.exists():
        raise ArtifactError(f"{source} does not exist; correct the path")
    folder, real = graph.folder(name).resolve(), source.resolve()
    if not (source / COMPLETE).exists() and (real.is_relative_to(folder) or folder.is_relative_to(real)):
        raise ArtifactError(
            f"{source} is {name} itself; `python -m pipeline accept {name} --reason ...` says that it is good as it is"
        )
    whole = next((parent for parent in real.parents if (parent / RECORD).exists()), None)
    if move and whole is not None:
        raise ArtifactError(
            f"{source} is a part of the artifact in {whole}; leave out --move, so that that stays whole"
        )


def _require_rest(run: Path) -> None:
    holder = lease_holder(run)
    if holder is not None and holder.alive:
        raise ArtifactError(f"{run.parent.name}: {holder} trains this run; wait for that, or end it, then adopt")
