"""The ladder: a law over stages where there are enough, a learning curve where not, and no invented numbers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.report.curves import Curve
from pipeline.report.ladder import compute_law, ladder, token_law
from pipeline.report.stages import FinishedStage, finished_stages
from pipeline.settings.report import LadderStep


def _stage(train: Artifact, name: str, flops: float, error: float = 0.01) -> FinishedStage:
    return FinishedStage(name, train, 1, 1, flops, 0.6 + 1.4 * (flops / 1e15) ** -0.15, error)


@pytest.fixture
def train(small_project: Any) -> Artifact:
    """The small stage's run."""
    return small_project.make("train/small")


@pytest.fixture
def evaluation(small_project: Any) -> Artifact:
    """The small stage's evaluation."""
    return small_project.make("evaluate/small")


def test_three_stages_predict_twice_the_compute_within_the_interval(train: Artifact) -> None:
    stages = [_stage(train, name, flops) for name, flops in (("demo", 1e14), ("tiny", 1e17), ("small", 1e20))]
    found = compute_law(stages)
    prediction = found["prediction"]
    truth = 0.6 + 1.4 * 2e5**-0.15
    assert found["of"] == "2 times the compute of small"
    assert prediction["x"] == pytest.approx(2e20)
    assert prediction["low"] < truth < prediction["high"]
    assert prediction["loss"] == pytest.approx(truth, rel=1e-4)
    assert any("as many points as parameters" in note for note in found["notes"])


def test_two_stages_give_no_law_but_the_reason(train: Artifact) -> None:
    found = compute_law([_stage(train, "demo", 1e14), _stage(train, "tiny", 1e17)])
    assert found == {
        "missing": "a law over compute takes 3 finished stages of different size, there are 2",
        "notes": [],
    }


def test_an_exact_fit_without_known_errors_gives_a_law_but_no_interval(train: Artifact) -> None:
    stages = [_stage(train, name, flops, error=0.0) for name, flops in (("a", 1e14), ("b", 1e17), ("c", 1e20))]
    found = compute_law(stages)
    assert "prediction" not in found
    assert "no interval" in found["missing"]
    assert found["law"]["exponent"] == pytest.approx(0.15, rel=1e-3)


def test_a_learning_curve_is_called_what_it_is() -> None:
    tokens = np.arange(1, 9) * 10_000
    loss = (1.5 + 2.0 * (tokens / 1e4) ** -0.5) * np.array([1.01, 0.99] * 4)
    found = token_law(Curve(tokens, tokens, loss))
    assert found["prediction"]["x"] == 160_000
    assert found["prediction"]["low"] < 1.5 + 2.0 * 16**-0.5 < found["prediction"]["high"]
    assert any("not what a longer run would reach" in note for note in found["notes"])


def test_too_few_validations_give_no_curve_but_the_reason() -> None:
    tokens = np.arange(1, 6) * 10_000
    found = token_law(Curve(tokens, tokens, 1 / tokens))
    assert found["missing"] == "a learning curve takes 6 validations after warm-up, there are 5"


def test_the_step_on_one_real_stage_follows_its_learning_curve(small_project: Any) -> None:
    made = small_project.make("ladder")
    result = json.loads(made.path("ladder.json").read_text())
    assert result["headline"]["basis"] == "tokens"
    assert result["headline"] == made.manifest.counts["headline"]
    assert "3 finished stages" in result["compute"]["missing"]
    points = pq.read_table(made.path("points.parquet")).to_pylist()
    assert [row["x"] for row in points if row["basis"] == "tokens"][:2] == [2048.0, 4096.0]
    (stage,) = [row for row in points if row["basis"] == "compute"]
    assert stage["bits_per_byte"] == small_project.make("evaluate/small").manifest.counts["mixture"]["bits_per_byte"]


def test_the_same_stages_in_another_order_give_the_same_bytes(
    train: Artifact, evaluation: Artifact, tmp_path: Path
) -> None:
    def stage(number: int) -> tuple[Artifact, Artifact]:
        counts = {**train.manifest.counts, "tokens": train.manifest.counts["tokens"] * 10**number}
        other = replace(train, manifest=train.manifest.model_copy(update={"name": f"train/{number}", "counts": counts}))
        name = {"name": f"evaluate/{number}"}
        return other, replace(evaluation, manifest=evaluation.manifest.model_copy(update=name))

    stages = [stage(number) for number in range(2)]
    for name, order in (("one", stages), ("other", stages[::-1])):
        (tmp_path / name).mkdir()
        trains, evaluations = zip(*order, strict=True)
        ladder(LadderStep(), Build(tmp_path / name, {"train": trains, "evaluate": evaluations}))
    for file in ("ladder.json", "points.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_an_evaluation_of_another_checkpoint_is_refused(train: Artifact, evaluation: Artifact) -> None:
    sources = [
        s.model_copy(update={"content": "0" * 64}) if s.role == "train" else s for s in evaluation.manifest.inputs
    ]
    other = replace(evaluation, manifest=evaluation.manifest.model_copy(update={"inputs": tuple(sources)}))
    with pytest.raises(ArtifactError, match="evaluates another checkpoint than train/small"):
        finished_stages([train], [other])


def test_a_run_without_its_evaluation_is_refused(train: Artifact) -> None:
    with pytest.raises(ArtifactError, match="not of the same stages"):
        finished_stages([train], [])
