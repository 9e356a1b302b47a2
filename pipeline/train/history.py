"""The attempts of a run: on what, with which code and programs, from which step to which, and why each ended."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.artifact.cost import versions
from pipeline.train.lines import JsonLines

HISTORY = "history.jsonl"


def record(folder: Path, event: str, step: int, **details: Any) -> None:
    """Append what happened (`start`, `checkpoint`, `stop`, `requeue`, `finish`) at a step to the run's history."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "event": event,
        "step": step,
        "host": platform.node(),
        "pid": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "versions": versions(),
        **details,
    }
    JsonLines(folder / HISTORY).append(line)


def count_attempts(folder: Path) -> int:
    """How many times work on the run began."""
    return len(_events(folder, "start"))


def last_checkpoint(folder: Path) -> int:
    """The step of the last checkpoint that was written; 0 without any."""
    return max((row["step"] for row in _events(folder, "checkpoint")), default=0)


def longest_save(folder: Path) -> float:
    """The seconds that the slowest checkpoint took so far; 0 without any."""
    return max((float(row.get("seconds", 0.0)) for row in _events(folder, "checkpoint")), default=0.0)


def _events(folder: Path, event: str) -> list[dict[str, Any]]:
    return [row for row in JsonLines(folder / HISTORY).rows() if row.get("event") == event]
