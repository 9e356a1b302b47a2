"""The attempts of a run: which process, on what, with which code and programs, from which step to which."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.artifact.cost import versions


def record_attempt(folder: Path, event: str, step: int, **details: Any) -> None:
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
    with open(folder / "history.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def attempts(folder: Path) -> list[dict[str, Any]]:
    """The run's history so far."""
    path = folder / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
