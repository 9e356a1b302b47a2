"""Where checkpoints lie in a run directory, and how they are called. To read what is in them takes torch."""

from pathlib import Path

COMPLETE = "complete.json"
"""Without this file a checkpoint does not count."""
PREFIX = "step-"
PARTIAL = ".partial"
"""How the names of those end that are being written, or were when the process was killed."""


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints below a folder, oldest first."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if path.is_dir())


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"{PREFIX}{step:09d}"


def partial_folder(folder: Path) -> Path:
    """Where a checkpoint is written before it counts."""
    return folder.with_name(f".{folder.name}{PARTIAL}")


def is_partial(path: Path) -> bool:
    """Whether a folder is what a killed process left of a checkpoint."""
    return path.name.startswith(f".{PREFIX}") and path.name.endswith(PARTIAL)
