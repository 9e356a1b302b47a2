"""What is read of a training run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artifact.files import ArtifactError
from pipeline.artifact.manifest import Entry
from pipeline.report.curves import Curve, curve, read_metrics, read_validation, warmup_end
from pipeline.report.figures.loss import running_mean


def test_a_real_run_has_one_row_a_step_and_validations_by_domain(small_project: Any) -> None:
    train = small_project.make("train/small")
    metrics = read_metrics(train)
    assert metrics["step"].to_pylist() == list(range(1, 41))
    assert warmup_end(metrics) == 4  # 2,048 tokens of warm-up, 512 a step
    assert len(set(read_validation(train)["domain"].to_pylist())) == 4


def test_steps_without_a_finite_loss_are_left_out_of_a_curve() -> None:
    table = pa.table({"step": [1, 2, 3, 4], "tokens": [10, 20, 30, 40], "loss": [5.0, None, float("nan"), 4.0]})
    found = curve(table, "loss")
    assert found.step.tolist() == [1, 4]
    assert found.value.tolist() == [5.0, 4.0]
    assert found.after(2).tokens.tolist() == [40]


def test_a_table_that_lacks_a_column_is_refused_by_name(small_project: Any, tmp_path: Path) -> None:
    train = small_project.copy("train/small", tmp_path)
    path = train.folder / "metrics.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["lr"]), path)
    files = tuple(Entry.of(train.folder, e.path) if e.path == path.name else e for e in train.manifest.files)
    with pytest.raises(ArtifactError, match=r"metrics\.parquet has no column lr"):
        read_metrics(replace(train, manifest=train.manifest.model_copy(update={"files": files})))


def test_a_running_mean_begins_with_its_first_whole_window() -> None:
    found = running_mean(Curve(np.arange(4), np.arange(4) * 10, np.array([1.0, 3.0, 5.0, 9.0])), 2)
    assert found.tokens.tolist() == [10, 20, 30]
    assert found.value.tolist() == [2.0, 4.0, 7.0]
