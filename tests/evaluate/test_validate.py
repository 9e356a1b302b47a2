"""Validation as training calls it: by domain, without touching the model's training state."""

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.artifact.files import ArtifactError
from pipeline.evaluate.checkpoint import load_model
from pipeline.evaluate.measures import MIXTURE
from pipeline.evaluate.validate import validate, validation_rows
from pipeline.model.balance import moe_layers
from pipeline.model.deepseek import DeepSeekV3

PAD = 2
BYTES = np.where(np.arange(512) < 6, 0, 2)


@pytest.fixture(scope="module")
def model(small_project: Any) -> DeepSeekV3:
    """The small stage's trained model."""
    return load_model(small_project.make("train/small"), torch.device("cpu"))


def _rows(seed: int, count: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(6, 512, (count, 67)).astype(np.uint16)


def test_padding_is_no_target(model: DeepSeekV3) -> None:
    rows = _rows(0)
    rows[1, 20:] = PAD
    found = validate(model, {"a": rows}, BYTES, PAD, batch_rows=2)["a"]
    assert found.targets == 4 * 64 + 19
    assert found.text_bytes == 2 * found.targets


def test_each_domain_is_scored_by_its_own_rows_in_any_batches(model: DeepSeekV3) -> None:
    both = validate(model, {"a": _rows(0), "b": _rows(1, 3)}, BYTES, PAD, batch_rows=2)
    alone = validate(model, {"b": _rows(1, 3)}, BYTES, PAD, batch_rows=3)
    assert both["b"].measures.nats_per_token == pytest.approx(alone["b"].measures.nats_per_token, rel=1e-6)
    assert both["a"].measures.nats_per_token != both["b"].measures.nats_per_token
    assert both["a"].rows == 5


def test_only_the_first_rows_are_scored_where_asked(model: DeepSeekV3) -> None:
    some = validate(model, {"a": _rows(0)}, BYTES, PAD, batch_rows=2, most_rows=3)
    first = validate(model, {"a": _rows(0)[:3]}, BYTES, PAD, batch_rows=2)
    assert some["a"].measures == first["a"].measures


def test_every_counted_token_went_to_its_experts(model: DeepSeekV3) -> None:
    found = validate(model, {"a": _rows(0)}, BYTES, PAD, batch_rows=5)["a"]
    assert found.expert_counts.shape == (4, 4)
    assert found.expert_counts.sum(1).tolist() == [5 * 64 * 2] * 4


def test_training_goes_on_as_if_nothing_had_been_validated(model: DeepSeekV3) -> None:
    model.train()
    model.losses(torch.from_numpy(_rows(3).astype(np.int64)), PAD)
    before = [layer.expert_counts.clone() for _, layer in moe_layers(model)]
    random = torch.get_rng_state()
    validate(model, {"a": _rows(0)}, BYTES, PAD, batch_rows=2)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    for counts, (_, layer) in zip(before, moe_layers(model), strict=True):
        assert counts.sum() > 0
        assert torch.equal(counts, layer.expert_counts)
    model.eval()


def test_a_domain_without_rows_is_left_out(model: DeepSeekV3) -> None:
    assert set(validate(model, {"a": _rows(0), "b": _rows(0)[:0]}, BYTES, PAD, batch_rows=2)) == {"a"}


def test_no_text_at_all_is_refused(model: DeepSeekV3) -> None:
    with pytest.raises(ArtifactError, match=r"raise validation\.fraction"):
        validate(model, {"a": _rows(0)[:0]}, BYTES, PAD, batch_rows=2)


def test_a_validation_becomes_a_row_for_each_domain_and_the_mixture(model: DeepSeekV3) -> None:
    found = validate(model, {"a": _rows(0), "b": _rows(1)}, BYTES, PAD, batch_rows=5)
    rows = validation_rows(found, {"a": 0.25, "b": 0.75}, step=7, tokens=700)
    assert [(row["step"], row["tokens"], row["domain"]) for row in rows] == [(7, 700, n) for n in ("a", "b", MIXTURE)]
    a, b, mixture = (row["nats_per_token"] for row in rows)
    assert mixture == pytest.approx(0.25 * a + 0.75 * b)
