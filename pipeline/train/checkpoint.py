"""Checkpoints: torch distributed checkpoints in safetensors files, complete or absent.

Tensors go through `torch.distributed.checkpoint`, so that another layout can load them; its safetensors storage keeps
pickles out. A checkpoint is written to a temporary folder, forced to disk, described by `complete.json` (the position
and every file's SHA-256) and renamed: without that file it does not count.
"""

import json
import os
import shutil
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter

from pipeline.artifact.canonical import canonical_json
from pipeline.artifact.files import ArtifactError, sha256_of, sync_file, sync_folder, write_atomic

COMPLETE = "complete.json"
PREFIX = "step-"


@dataclass(frozen=True)
class Position:
    """Where training stands: all that is not a tensor."""

    step: int = 0
    """Optimizer steps done, skipped ones included."""
    samples: int = 0
    """Rows consumed: the next one to train on is row `samples` of the stage."""
    tokens: int = 0
    skipped_in_a_row: int = 0
    skipped: int = 0
    seconds: float = 0.0
    """Time spent training so far, over all attempts."""


def save_checkpoint(folder: Path, state: dict[str, Any], position: Position, settings: dict[str, Any]) -> None:
    """Write a checkpoint to `folder` so that it is there whole or not at all.

    `state` is a nested dict of tensors; `settings` is what the run is of, compared when it is loaded.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one process without a process group is what is meant here
        dcp.save(state, storage_writer=HuggingFaceStorageWriter(str(partial)), no_dist=True)
    names = sorted(path.name for path in partial.iterdir())
    for name in names:
        sync_file(partial / name)
    files = {name: sha256_of(partial / name) for name in names}
    complete = {"position": asdict(position), "settings": settings, "files": files}
    write_atomic(partial / COMPLETE, json.dumps(complete, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(partial, folder)
    sync_folder(folder.parent)


def load_checkpoint(folder: Path, state: dict[str, Any], settings: dict[str, Any]) -> Position:
    """Fill the tensors of `state` in place from a complete checkpoint and return its position.

    Raises ArtifactError if it is damaged, or was made with other settings.
    """
    complete = read_complete(folder)
    if canonical_json(complete["settings"]) != canonical_json(settings):
        keys = sorted(_differing(complete["settings"], settings))
        raise ArtifactError(
            f"{folder} is a checkpoint of other settings ({', '.join(keys)}); put them back, or move the run directory away"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(state, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    return Position(**complete["position"])


def read_complete(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, after every file was compared with its SHA-256.

    Raises ArtifactError that names the file that is missing or differs.
    """
    try:
        complete: dict[str, Any] = json.loads((folder / COMPLETE).read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder} is no complete checkpoint ({error}); delete it") from None
    for name, expected in complete["files"].items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != expected:
            raise ArtifactError(f"{path} is missing or damaged; delete {folder}, an older checkpoint will be used")
    return complete


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints below a folder, oldest first."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"{PREFIX}{step:09d}"


def prune_checkpoints(folder: Path, keep_last: int) -> None:
    """Delete all but the newest checkpoints."""
    for path in checkpoints(folder)[:-keep_last]:
        shutil.rmtree(path)


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of the random generators that training draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Continue the random generators where they were."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def _differing(before: dict[str, Any], now: dict[str, Any], path: str = "") -> set[str]:
    found: set[str] = set()
    for key in {*before, *now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found |= _differing(old, new, f"{path}{key}.")
        elif old != new:
            found.add(f"{path}{key}")
    return found
