"""Checkpoints: torch distributed checkpoints in safetensors files, complete or absent.

Tensors go through `torch.distributed.checkpoint`, so that another layout can load them; its safetensors storage keeps
pickles out. A checkpoint is written to a temporary folder, forced to disk, described by `complete.json` (the position
and every file's SHA-256) and renamed: without that file it does not count.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from pipeline.artifact.canonical import canonical_json
from pipeline.artifact.files import ArtifactError, sha256_of, sync_file, sync_folder, write_atomic
from pipeline.train.checkpoints import COMPLETE, checkpoints, is_partial, partial_folder


@dataclass(frozen=True)
class Position:
    """Where training stands: all that is not a tensor. Equal runs have equal positions, so no times are in it."""

    step: int = 0
    """Optimizer steps done, skipped ones included."""
    samples: int = 0
    """Rows consumed: the next one to train on is row `samples` of the stage."""
    tokens: int = 0
    skipped_in_a_row: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Saved:
    """A checkpoint whose files are all as they were written."""

    folder: Path
    position: Position
    settings: dict[str, Any]
    """The identity of the run that it is of."""


def save_checkpoint(folder: Path, state: dict[str, Any], position: Position, settings: dict[str, Any]) -> None:
    """Write a checkpoint to `folder` so that it is there whole or not at all.

    `state` is a nested dict of tensors; `settings` is what the run is of, compared when it is loaded.
    Raises ArtifactError if it cannot be written; nothing is left of it then.
    """
    partial = partial_folder(folder)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(folder):
            partial.mkdir(parents=True)
            _write_tensors(partial, state)
            files = _sync_and_hash(partial)
            complete = {"position": asdict(position), "settings": settings, "files": files}
            write_atomic(partial / COMPLETE, json.dumps(complete, indent=1))
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one, or it would not be saved again
            partial.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell in a sentence what could not be written, and that nothing else is lost. Raises ArtifactError."""
    try:
        yield
    except (OSError, SafetensorError, CheckpointException) as error:
        raise ArtifactError(
            f"{path} cannot be written ({_cause(error)}); make room and run the same command again: "
            "training continues from the last checkpoint"
        ) from error


def newest_whole(folders: Iterable[Path], say: Callable[[str], None]) -> Saved | None:
    """The last checkpoint of `folders`, which go from old to new, whose files are whole; `say` names the others."""
    for folder in reversed(list(folders)):
        try:
            return read_checkpoint(folder)
        except ArtifactError as error:
            say(f"{error}; the checkpoint before it is used")
    return None


def read_checkpoint(folder: Path) -> Saved:
    """What a checkpoint says of itself, after every file was compared with its SHA-256.

    Raises ArtifactError that names the file that is missing or differs.
    """
    try:
        complete = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        saved = Saved(folder, Position(**complete["position"]), dict(complete["settings"]))
        files = dict(complete["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / COMPLETE} is missing or damaged ({error})") from None
    for name, expected in files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != expected:
            raise ArtifactError(f"{path} is missing or damaged")
    return saved


def load_checkpoint(saved: Saved, state: dict[str, Any], settings: dict[str, Any]) -> Position:
    """Fill the tensors of `state` in place from a whole checkpoint and return its position.

    Raises ArtifactError if it was made with other settings, or holds other tensors.
    """
    if canonical_json(saved.settings) != canonical_json(settings):
        keys = ", ".join(sorted(_differing(saved.settings, settings)))
        raise ArtifactError(
            f"{saved.folder} is a checkpoint of other settings ({keys}); put them back, or move the folder away"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as when saving
            load(state, storage_reader=HuggingFaceStorageReader(str(saved.folder)), no_dist=True)
    except CheckpointException as error:
        raise ArtifactError(
            f"{saved.folder} holds other tensors than this version trains ({_cause(error)}); "
            "continue with the version that began the run, or move the folder away"
        ) from error
    return saved.position


def prune_checkpoints(newest: Path, keep_last: int) -> None:
    """Delete all but the last `keep_last` checkpoints up to `newest`, and what a killed process left half-written.

    Later ones were found damaged when the run was continued; they are written again when training gets there.
    """
    for path in [path for path in checkpoints(newest.parent) if path <= newest][:-keep_last]:
        shutil.rmtree(path)
    for path in filter(is_partial, list(newest.parent.iterdir())):
        shutil.rmtree(path)


def _write_tensors(folder: Path, state: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one process without a process group is what is meant here
        save(state, storage_writer=HuggingFaceStorageWriter(str(folder)), no_dist=True)
    for path in folder.glob("*.safetensors"):
        _order_header(path)


def _order_header(path: Path) -> None:
    """Sort the metadata of a safetensors file, which are written in a random order: equal states make equal files."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        assert len(ordered) == length
        file.seek(8)
        file.write(ordered)


def _sync_and_hash(folder: Path) -> dict[str, str]:
    paths = sorted(folder.iterdir())
    for path in paths:
        sync_file(path)
    return {path.name: sha256_of(path) for path in paths}


def _cause(error: BaseException) -> str:
    """What went wrong, out of the traces of all ranks that torch puts around it."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _differing(before: dict[str, Any], now: dict[str, Any], path: str = "") -> set[str]:
    found: set[str] = set()
    for key in {*before, *now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found |= _differing(old, new, f"{path}{key}.")
        elif old != new:
            found.add(f"{path}{key}")
    return found
