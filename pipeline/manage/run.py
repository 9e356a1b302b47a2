"""How far a training run is: read from its folder, also while it trains, and without torch."""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact.publish import WORKING
from pipeline.manage.checkpoints import Checkpoint, newest_checkpoint
from pipeline.manage.ending import ending
from pipeline.manage.holder import Holder, lease_holder
from pipeline.manage.tail import last_rows
from pipeline.train.history import HISTORY

MIXTURE = "(mixture)"
"""The row of a validation that weighs all domains, as `pipeline.evaluate.measures` calls it."""
HISTORY_BYTES = 16 << 20
"""About ten thousand attempts and checkpoints."""
SMOOTHED_STEPS = 50
"""Loss and speed are also told over so many of the last steps, at most."""


@dataclass(frozen=True)
class Validation:
    """The last validation on the way."""

    step: int
    bits_per_byte: float
    """Of the domains at their weights."""


@dataclass(frozen=True)
class Run:
    """What a training run's folder tells. What it does not tell yet is None."""

    folder: str
    """Its name beside the artifact's."""
    is_current: bool
    """Whether it is what would go on now: the run of the present settings and inputs."""
    step: int
    steps: int | None
    """Of the whole stage; known of the current run only."""
    loss: float | None
    """Of the next token, at the last step; None too where that was not finite."""
    smoothed_loss: float | None
    smoothed_over: int
    """The number of steps over which loss and speed are told."""
    tokens_per_second: float | None
    mfu: float | None
    seconds_left: float | None
    """At the speed of the last steps, without validations and checkpoints."""
    checkpoint: Checkpoint | None
    validation: Validation | None
    attempts: int
    ended: str | None
    """What ended the last attempt that is over."""
    holder: Holder | None

    @property
    def trains(self) -> bool:
        """Whether a process is at work on it."""
        return self.holder is not None and self.holder.alive

    @property
    def begun(self) -> bool:
        """Whether there is anything to go on from, or to learn from."""
        return bool(self.attempts or self.step or self.checkpoint)


def read_run(folder: Path, steps: int | None, is_current: bool) -> Run:
    """What the run in `folder` tells; `steps` is how many its stage has, where that is known."""
    run = folder / WORKING
    rows = last_rows(run / "metrics.jsonl")
    history = last_rows(run / HISTORY, HISTORY_BYTES)
    holder = lease_holder(run)
    checkpoint = newest_checkpoint(run)
    step = rows[-1]["step"] if rows else checkpoint.step if checkpoint else 0
    recent = rows[-SMOOTHED_STEPS:]
    seconds = _mean(recent, "seconds")
    return Run(
        folder=folder.name,
        is_current=is_current,
        step=step,
        steps=steps,
        loss=_number(rows[-1], "next_token") if rows else None,
        smoothed_loss=_mean(recent, "next_token"),
        smoothed_over=len(recent),
        tokens_per_second=_median(recent, "tokens_per_second"),
        mfu=_median(recent, "mfu"),
        seconds_left=seconds * (steps - step) if steps is not None and seconds is not None else None,
        checkpoint=checkpoint,
        validation=_validation(run),
        attempts=sum(row.get("event") == "start" for row in history),
        ended=ending(run, history, goes_on=holder is not None and holder.alive),
        holder=holder,
    )


def _validation(run: Path) -> Validation | None:
    for row in reversed(last_rows(run / "validation.jsonl")):
        bits = _number(row, "bits_per_byte")
        if row.get("domain") == MIXTURE and bits is not None:
            return Validation(row["step"], bits)
    return None


def _number(row: dict[str, Any], key: str) -> float | None:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else None


def _numbers(rows: list[dict[str, Any]], key: str) -> list[float]:
    return [value for row in rows if (value := _number(row, key)) is not None]


def _mean(rows: list[dict[str, Any]], key: str) -> float | None:
    values = _numbers(rows, key)
    return statistics.fmean(values) if values else None


def _median(rows: list[dict[str, Any]], key: str) -> float | None:
    values = _numbers(rows, key)
    return statistics.median(values) if values else None
