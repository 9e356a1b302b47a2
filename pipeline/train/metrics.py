"""Metrics as they come (JSON lines, TensorBoard, perhaps Weights & Biases) and as tables at the end (Parquet)."""

import statistics
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.tensorboard import SummaryWriter

from pipeline.evaluate.layout import METRICS, VALIDATION
from pipeline.settings.base import SettingsError
from pipeline.train.lines import JsonLines

TIMING = ("seconds", "tokens_per_second", "mfu")
"""Differ from run to run, so they stay out of the artifact's tables, which an equal run writes equal."""

TABLES = (METRICS, VALIDATION)
"""The tables that every artifact has."""
SKIPPED = "skipped.parquet"
"""The ledger of skipped steps, where there were any."""


def rows_of_metrics(folder: Path) -> int:
    """How many steps the artifact's table of metrics holds."""
    return int(pq.read_metadata(folder / METRICS).num_rows)


class MetricsLog:
    """Where a run's measurements go."""

    def __init__(self, folder: Path, step: int, wandb_project: str | None = None, run_name: str = "") -> None:
        """Open the logs in `folder` to go on after `step`. Raises SettingsError if wandb is wanted and not there."""
        self._wandb = _start_wandb(wandb_project, run_name, folder) if wandb_project else None
        self._steps = JsonLines(folder / "metrics.jsonl")
        self._validations = JsonLines(folder / "validation.jsonl")
        self._skips = JsonLines(folder / "skipped.jsonl")
        for lines in (self._steps, self._validations, self._skips):
            lines.rewind(step)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def log_step(self, row: dict[str, Any]) -> None:
        """One training step: `step` and its numbers, None for one that is not finite."""
        self._steps.append(row)
        self._send("train", row)

    def log_validation(self, rows: list[dict[str, Any]]) -> None:
        """One validation: a row for each domain, with `step`, `tokens`, `domain` and its numbers."""
        for row in rows:
            self._validations.append(row)
            self._send(f"validation/{row['domain']}", row)

    def log_skip(self, row: dict[str, Any]) -> None:
        """One skipped step: its number, its rows, and what was not finite. Kept as the run's ledger."""
        self._skips.append(row)

    def is_validated(self, step: int) -> bool:
        """Whether the validation after a step is logged."""
        return any(row["step"] == step for row in self._validations.rows())

    def steps(self) -> int:
        """How many steps are logged."""
        return len(self._steps.rows())

    def seconds(self) -> float:
        """The time that the logged steps took, over all attempts."""
        return float(sum(row["seconds"] for row in self._steps.rows()))

    def tokens_per_second(self) -> float:
        """The median over the logged steps; 0 without any."""
        return float(statistics.median([row["tokens_per_second"] for row in self._steps.rows()] or [0.0]))

    def sync(self) -> None:
        """Force all so far to disk: a checkpoint is about to rely on it."""
        for lines in (self._steps, self._validations, self._skips):
            lines.sync()
        self._board.flush()

    def close(self) -> None:
        """Flush what is buffered."""
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def write_tables(self, folder: Path) -> None:
        """Write the tables that belong to the artifact; equal runs write equal bytes."""
        steps = [{key: value for key, value in row.items() if key not in TIMING} for row in self._steps.rows()]
        pq.write_table(_table(steps), folder / METRICS)
        pq.write_table(_table(self._validations.rows()), folder / VALIDATION)
        if skipped := self._skips.rows():
            pq.write_table(_table(skipped), folder / SKIPPED)

    def _send(self, group: str, row: dict[str, Any]) -> None:
        numbers = {
            f"{group}/{key}": value
            for key, value in row.items()
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool)
        }
        for key, value in numbers.items():
            self._board.add_scalar(key, value, row["step"])
        if self._wandb is not None:
            self._wandb.log(numbers, step=row["step"])


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    """A table of all columns that any row has, in the order of their first appearance."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _start_wandb(project: str, run_name: str, folder: Path) -> Any:
    try:
        import wandb  # an extra that most users do not install
    except ImportError:
        raise SettingsError(
            f"training.wandb_project: {project!r}: wandb is not installed; "
            "write null, or run pip install 'seekmake[wandb]'"
        ) from None
    return wandb.init(project=project, name=run_name, id=run_name.replace(" ", "-"), dir=folder, resume="allow")
