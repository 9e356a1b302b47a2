"""Metrics as they come (JSON lines, TensorBoard, perhaps Weights & Biases) and as a table at the end (Parquet)."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.tensorboard import SummaryWriter

TIMING = ("seconds", "tokens_per_second", "mfu")
"""Differ from run to run, so they stay out of the artifact's tables, which an equal run writes equal."""


class JsonLines:
    """An append-only table in a file, one JSON object a line, each with a `step`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`: training goes on from there and will write them again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: dict[str, Any]) -> None:
        """Write one line at once, so that whoever follows the file sees it."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All whole lines; the last may be half-written by a process that was killed, and is dropped."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]


class MetricsLog:
    """Where a run's measurements go."""

    def __init__(self, folder: Path, step: int, wandb_project: str | None = None, run_name: str = "") -> None:
        """Open the logs in `folder` to go on after `step`."""
        self.steps = JsonLines(folder / "metrics.jsonl")
        self.validations = JsonLines(folder / "validation.jsonl")
        self.skips = JsonLines(folder / "skipped.jsonl")
        for lines in (self.steps, self.validations, self.skips):
            lines.rewind(step)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._wandb = _start_wandb(wandb_project, run_name, folder) if wandb_project else None

    def log_step(self, row: dict[str, Any]) -> None:
        """One training step: `step` and its numbers."""
        self.steps.append(row)
        self._send("train", row)

    def log_validation(self, rows: list[dict[str, Any]]) -> None:
        """One validation: a row for each domain, with `step`, `tokens`, `domain` and its numbers."""
        for row in rows:
            self.validations.append(row)
            self._send(f"validation/{row['domain']}", row)

    def log_skip(self, row: dict[str, Any]) -> None:
        """One skipped step: its number, its rows, and what was not finite. Kept as the run's ledger."""
        self.skips.append(row)

    def close(self) -> None:
        """Flush what is buffered."""
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def write_tables(self, folder: Path) -> None:
        """Write the tables that belong to the artifact; equal runs write equal bytes."""
        steps = [{key: value for key, value in row.items() if key not in TIMING} for row in self.steps.rows()]
        pq.write_table(pa.Table.from_pylist(steps), folder / "metrics.parquet")
        pq.write_table(pa.Table.from_pylist(self.validations.rows()), folder / "validation.parquet")
        if skipped := self.skips.rows():
            pq.write_table(pa.Table.from_pylist(skipped), folder / "skipped.parquet")

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


def _start_wandb(project: str, run_name: str, folder: Path) -> Any:
    try:
        import wandb  # an extra that most users do not install
    except ImportError:
        raise ValueError(
            f"training.wandb_project is {project!r}, but wandb is not installed: pip install 'seekmake[wandb]'"
        ) from None
    return wandb.init(project=project, name=run_name, id=run_name.replace("/", "-"), dir=folder, resume="allow")
