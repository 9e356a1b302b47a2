"""The checkpoint that a run would go on from, found by its name alone: to read what is in it takes torch."""

import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.train.checkpoints import COMPLETE, PREFIX


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
