"""Logs that survive kills, and the tables made of them."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.artifact.files import sha256_of
from pipeline.settings.base import SettingsError
from pipeline.train.lines import JsonLines
from pipeline.train.metrics import MetricsLog, rows_of_metrics


def _step(step: int, loss: float | None = 1.5, **more: Any) -> dict[str, Any]:
    timing = {"seconds": 0.25 * step, "tokens_per_second": 100.0 * step, "mfu": 0.5}
    return {"step": step, "tokens": 64 * step, "skipped": loss is None, "loss": loss, **more, **timing}


def _validation(step: int) -> list[dict[str, Any]]:
    return [{"step": step, "tokens": 64 * step, "domain": name, "bits_per_byte": 2.5} for name in ("a", "(mixture)")]


def test_a_half_written_line_is_dropped_and_numbers_survive(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "rows.jsonl")
    rows = [{"step": step, "loss": 1 / 3 + step, "tiny": 5e-324, "none": None} for step in range(5)]
    for row in rows:
        lines.append(row)
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    assert lines.rows() == rows
    lines.append({"step": 6})
    assert lines.rows() == [*rows, {"step": 6}]
    lines.rewind(2)
    assert lines.rows() == rows[:3]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_what_a_disk_lost_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"step": 1}\n\0\0\0\xff\n[3]\n{"loss": 2}\n{"step": 4}\n')
    assert JsonLines(tmp_path / "rows.jsonl").rows() == [{"step": 1}, {"step": 4}]


def test_a_number_that_json_does_not_know_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        JsonLines(tmp_path / "rows.jsonl").append({"step": 1, "loss": float("nan")})
    assert not (tmp_path / "rows.jsonl").exists()


def _log(folder: Path, steps: list[int], skipped: tuple[int, ...] = (), resumed_at: int = 0) -> MetricsLog:
    log = MetricsLog(folder, resumed_at)
    for step in steps:
        if step in skipped:
            log.log_skip({"step": step, "first_sample": 4 * step, "last_sample": 4 * step + 3, "loss": "nan"})
        log.log_step(_step(step, None if step in skipped else 1.5 + step, mtp_0=2.0))
        log.log_validation(_validation(step))
    log.close()
    return log


def test_the_tables_of_a_resumed_run_have_the_same_bytes(tmp_path: Path) -> None:
    _log(tmp_path / "whole", [1, 2, 3, 4], skipped=(1, 3)).write_tables(tmp_path / "whole")
    _log(tmp_path / "parts", [1, 2, 3], skipped=(1, 3))
    _log(tmp_path / "parts", [3, 4], skipped=(1, 3), resumed_at=2).write_tables(tmp_path / "parts")
    for name in ("metrics.parquet", "validation.parquet", "skipped.parquet"):
        assert sha256_of(tmp_path / "whole" / name) == sha256_of(tmp_path / "parts" / name)
    table = pq.read_table(tmp_path / "whole/metrics.parquet").to_pydict()
    assert table["loss"] == [None, 3.5, None, 5.5], "a column that the first row lacks is there"
    assert not {"seconds", "tokens_per_second", "mfu"} & table.keys()
    assert pq.read_table(tmp_path / "whole/skipped.parquet")["first_sample"].to_pylist() == [4, 12]
    assert rows_of_metrics(tmp_path / "whole") == 4


def test_a_column_that_only_later_rows_have_is_kept(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log.log_step(_step(1))
    log.log_step(_step(2, later=7))
    log.log_validation(_validation(2))
    log.close()
    log.write_tables(tmp_path)
    assert pq.read_table(tmp_path / "metrics.parquet")["later"].to_pylist() == [None, 7]


def test_time_and_rate_are_those_of_the_logged_steps(tmp_path: Path) -> None:
    assert (MetricsLog(tmp_path / "empty", 0).seconds(), MetricsLog(tmp_path / "empty", 0).tokens_per_second()) == (
        0,
        0,
    )
    log = _log(tmp_path / "full", [1, 2, 3])
    assert (log.steps(), log.seconds(), log.tokens_per_second()) == (3, 1.5, 200.0)
    assert log.is_validated(3)
    assert not log.is_validated(4)


def test_tensorboard_reads_the_curve_of_a_resumed_run(tmp_path: Path) -> None:
    _log(tmp_path, [1, 2, 3])
    _log(tmp_path, [3, 4], resumed_at=2)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"train/loss", "train/mfu", "validation/a/bits_per_byte"} <= set(events.Tags()["scalars"])
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(s, 1.5 + s) for s in (1, 2, 3, 4)]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed here")
def test_wandb_without_wandb_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    _log(tmp_path, [1, 2])
    with pytest.raises(SettingsError, match=r"training\.wandb_project: 'mine': wandb is not installed"):
        MetricsLog(tmp_path, 1, "mine", "train short")
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
