"""What ended an attempt at a training run, from what it left behind."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.train.outcome import OUTCOME
from pipeline.train.task import LAUNCH


def ending(run: Path, history: Sequence[dict[str, Any]], goes_on: bool) -> str | None:
    """What ended the last attempt that is over, in words; None where none is.

    `goes_on` says that the last one that began is not over.
    """
    starts = [number for number, row in enumerate(history) if row.get("event") == "start"]
    over = starts[:-1] if goes_on else starts
    if not over:
        return None if goes_on else _outcome(run, since=0.0)
    last = over[-1]
    after = starts[starts.index(last) + 1 :]
    told = _told(history[last + 1 : after[0] if after else None])
    if told is None and not after:
        told = _outcome(run, since=_time(history[last]))
    return told or "it ended without a word: it was killed, or its log tells an error"


def _told(rows: Sequence[dict[str, Any]]) -> str | None:
    """What the attempt itself wrote to the history as it ended."""
    for row in reversed(rows):
        event, step = row.get("event"), row["step"]
        if event == "finish":
            return f"finished after step {step}"
        if event == "requeue":
            return f"queued again by Slurm after step {step}"
        if event == "stop":
            return f"stopped {row.get('cause', '')} after step {step}".replace("  ", " ")
    return None


def _outcome(run: Path, since: float) -> str | None:
    """What one of several processes told as they ended, unless it is of an attempt before `since`."""
    path = next(run.glob(f"{LAUNCH}*/{OUTCOME}"), None)  # a launch removes those before it
    if path is None:
        return None
    try:
        if path.stat().st_mtime < since:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["kind"] == "died":
            return f"process {found['rank']} of {found['size']} on {found['host']} died (exit code {found['code']})"
        return str(found.get("message") or found.get("strerror") or found["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _time(row: dict[str, Any]) -> float:
    try:
        return datetime.fromisoformat(row["time"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0
