"""The attempts of a run: which process, on what, with which code and programs, from which step to which."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.artifact.cost import versions
from pipeline.train.lines import JsonLines

HISTORY = "history.jsonl"


def record(folder: Path, event: str, step: int, **details: Any) -> None:
    """Append what happened (`start`, `checkpoint`, `stop`, `finish`) at a step to the run's history."""
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
    """How many processes have worked on the run."""
    return sum(row["event"] == "start" for row in JsonLines(folder / HISTORY).rows())
