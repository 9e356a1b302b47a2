"""The checkpoints on a run's way, found by their names alone: to read what is in them takes torch."""

import time
from dataclasses import dataclass
from pathlib import Path

COMPLETE = "complete.json"
"""Without this file a checkpoint does not count."""
PREFIX = "step-"
PARTIAL = ".partial"
"""How the names of those end that are being written, or were when the process was killed."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint from which training would go on."""

    step: int
    age_seconds: float


def newest_checkpoint(run: Path) -> Checkpoint | None:
    """The last one in a run directory."""
    found = sorted(run.glob(f"{PREFIX}*/{COMPLETE}"))
    for path in reversed(found):
        step = path.parent.name.removeprefix(PREFIX)
        try:
            written = path.stat().st_mtime
        except OSError:
            continue  # a newer one has just pushed it out
        if step.isdigit():
            return Checkpoint(int(step), time.time() - written)
    return None


def on_the_way(run: Path) -> list[Path]:
    """The folders of all checkpoints in a run directory, oldest first."""
    return sorted(path for path in run.glob(f"{PREFIX}*") if path.is_dir() and not path.is_symlink())


def is_partial(path: Path) -> bool:
    """Whether a folder is what a killed process left of a checkpoint."""
    return path.name.startswith(f".{PREFIX}") and path.name.endswith(PARTIAL)
