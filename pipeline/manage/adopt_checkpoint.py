"""Letting training go on from a checkpoint that was written elsewhere. Needs torch, as all that reads checkpoints."""

import shutil
from pathlib import Path

from pipeline.artifact.change import settings_changes
from pipeline.artifact.files import ArtifactError, sync_folder, write_atomic
from pipeline.artifact.fingerprint import Identity
from pipeline.artifact.publish import WORKING, building_folder
from pipeline.graph import Graph
from pipeline.manage.accept import acceptance
from pipeline.manage.checkpoints import newest_checkpoint
from pipeline.manage.transfer import bring, give_up
from pipeline.train.checkpoint import Saved, read_checkpoint
from pipeline.train.checkpoints import checkpoint_folder, partial_folder
from pipeline.train.history import record

LOGS = ("metrics.jsonl", "validation.jsonl", "skipped.jsonl")
"""What was measured on the way to a checkpoint; it stands beside it."""


def adopt_checkpoint(graph: Graph, planned: Identity, source: Path, name: str, why: str, move: bool) -> str:
    """Put a checkpoint into the folder of a stage's current run. Returns what follows, in a sentence.

    Raises ArtifactError if it is damaged, of other settings, or not ahead of what the run has.
    """
    saved = read_checkpoint(source)
    run = building_folder(graph.folder(name), planned.run) / WORKING
    _require_use(graph, planned, saved, name, run)
    files = {path.name: path for path in sorted(source.iterdir()) if path.is_file()}
    for log in LOGS:
        if (source.parent / log).is_file():
            write_atomic(run / log, (source.parent / log).read_bytes())  # training drops what is after its step
    _bring(files, checkpoint_folder(run, saved.position.step))
    said = acceptance(f"{why} (adopted from {source.parent.name}/{source.name})", "")
    record(run, "checkpoint", saved.position.step, adopted=said.model_dump())
    if move:
        give_up(files, source)
    return f"{name} will go on after step {saved.position.step}, in {run.parent.name}"


def _require_use(graph: Graph, planned: Identity, saved: Saved, name: str, run: Path) -> None:
    """Raises ArtifactError if a checkpoint does not fit the run, or brings it no further."""
    if changed := list(settings_changes(saved.settings, planned.settings)):
        raise ArtifactError(
            f"{saved.folder} is a checkpoint of other settings ({'; '.join(map(str, changed))}); put them back"
        )
    if not graph.state(name).runs:
        raise ArtifactError(f"{name} is finished as the settings want it; there is nothing to go on with")
    newest = newest_checkpoint(run)
    if newest is not None and newest.step >= saved.position.step:
        raise ArtifactError(
            f"{run.parent.name} has a checkpoint of step {newest.step}, and {saved.folder} is of step "
            f"{saved.position.step}; move that away first if training is to go on from the earlier one"
        )


def _bring(files: dict[str, Path], folder: Path) -> None:
    """Put a checkpoint in place, whole or not at all."""
    partial = partial_folder(folder)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        bring(files, partial)
        sync_folder(partial)
        shutil.rmtree(folder, ignore_errors=True)  # one that lacks its description
        partial.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
