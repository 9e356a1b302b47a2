"""Figures at the edges of what they are given."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from pipeline.report.curves import Curve, read_metrics
from pipeline.report.figures.experts import draw_expert_load, layer_label
from pipeline.report.figures.ladder import draw_ladder
from pipeline.report.figures.loss import draw_loss
from pipeline.report.figures.mixture import draw_mixture
from pipeline.report.figures.style import colour_of, save
from pipeline.report.ladder import compute_law, token_law
from pipeline.report.stages import FinishedStage


def _texts(figure: Figure) -> list[str]:
    """Every word that a figure shows."""
    axes = [*figure.axes]
    titles = [one.get_title(loc="left") for one in axes]
    legends = [one.get_legend() for one in axes if one.get_legend() is not None]
    return [
        *titles,
        *(text.get_text() for legend in legends for text in (legend.get_title(), *legend.get_texts())),
        *(text.get_text() for one in axes for text in one.texts),
        *(text.get_text() for text in figure.texts),
    ]


def _points(basis: str, stages: list[str], x: list[float], loss: list[float]) -> pa.Table:
    return pa.table({"basis": [basis] * len(x), "stage": stages, "x": x, "bits_per_byte": loss})


def test_a_ladder_without_enough_points_shows_them_and_says_why(tmp_path: Path) -> None:
    run = Curve(np.array([1, 2]), np.array([1000, 2000]), np.array([3.0, 2.5]))
    result = {"stages": [], "compute": {"missing": "too few"}, "runs": {"demo": token_law(run)}}
    figure = draw_ladder(result, _points("tokens", ["demo"] * 2, [1000.0, 2000.0], [3.0, 2.5]), "demo")
    save(figure, tmp_path / "ladder.svg")
    assert "a learning curve takes 6 validations after warm-up, there are 2" in _texts(figure)
    assert "demo: learning curve (not a scaling law)" in _texts(figure)


def test_a_law_over_stages_names_them_and_the_one_to_come(small_project: Any, tmp_path: Path) -> None:
    train = small_project.make("train/small")
    stages = [
        FinishedStage(name, train, 1, 1, c, b, 0.01)
        for name, c, b in (("a", 1e14, 2), ("b", 1e16, 1.5), ("c", 1e18, 1.2))
    ]
    result = {"stages": [], "compute": compute_law(stages), "runs": {}}
    figure = draw_ladder(result, _points("compute", ["a", "b", "c"], [1e14, 1e16, 1e18], [2, 1.5, 1.2]), "c")
    save(figure, tmp_path / "ladder.svg")
    shown = _texts(figure)
    assert {"a", "b", "c", "Scaling over the finished stages"} <= set(shown)
    assert any(text.startswith("2 times the compute of c: ") for text in shown)


def test_a_model_without_experts_says_so(small_project: Any, tmp_path: Path) -> None:
    figure = draw_expert_load([], np.zeros((0, 0)), read_metrics(small_project.make("train/small")), "dense")
    save(figure, tmp_path / "experts.svg")
    assert _texts(figure) == ["dense has no expert layers"]


def test_numbers_are_left_out_of_cells_that_are_too_many(small_project: Any) -> None:
    metrics = read_metrics(small_project.make("train/small"))
    few, many = (draw_expert_load(["layer 1"], np.full((1, n), 1 / n), metrics, "s") for n in (16, 256))
    assert _texts(few).count("1.00") == 16
    assert _texts(many).count("1.00") == 0


def test_the_weight_of_the_mtp_loss_is_not_drawn_as_a_loss(small_project: Any) -> None:
    train = small_project.make("train/small")
    metrics = read_metrics(train)
    assert "mtp_weight" in metrics.column_names
    none = pa.table(
        {"step": [1], "tokens": [1], "domain": ["(mixture)"], "nats_per_token": [6.0], "bits_per_byte": [5.0]}
    )
    shown = [text for text in _texts(draw_loss(metrics, none, "s")) if text.startswith("training, ")]
    assert shown == ["training, next token", "training, 2 tokens ahead (MTP 1)", "training, 3 tokens ahead (MTP 2)"]


def test_sixteen_domains_have_sixteen_looks() -> None:
    assert len({tuple(colour_of(number).values()) for number in range(16)}) == 16


def test_tokens_are_shown_in_three_digits() -> None:
    row = {"domain": "wiki", "weight_asked": 0.5, "weight_delivered": 0.5, "epochs": 1.5}
    shown = [
        _texts(draw_mixture([{**row, "tokens_delivered": n}], "s"))[-1] for n in (12, 1_234_567, 3_000_000_000_000)
    ]
    assert shown == ["12 tokens, 1.50 epochs", "1.23 M tokens, 1.50 epochs", "3 T tokens, 1.50 epochs"]


def test_layers_have_the_names_that_people_use() -> None:
    assert [layer_label(name) for name in ("layers.3.mlp", "mtp.0.block.mlp")] == ["layer 3", "MTP 1"]
