"""Expert load: even, collapsed, and between."""

import numpy as np
import pytest

from pipeline.evaluate.load import entropy, shares, violation


def test_an_even_load_has_no_violation_and_full_entropy() -> None:
    counts = np.full((2, 8), 5)
    assert violation(counts) == pytest.approx([0, 0])
    assert entropy(counts) == pytest.approx([1, 1])
    assert shares(counts) == pytest.approx(np.full((2, 8), 1 / 8))


def test_a_collapsed_router_has_the_largest_violation_and_no_entropy() -> None:
    counts = np.array([0, 0, 12, 0])
    assert violation(counts) == pytest.approx(3)
    assert entropy(counts) == pytest.approx(0)


def test_violation_and_entropy_equal_a_computation_by_hand() -> None:
    counts = np.array([1, 1, 2])
    assert violation(counts) == pytest.approx(2 / (4 / 3) - 1)
    assert entropy(counts) == pytest.approx(1.5 * np.log(2) / np.log(3))


def test_a_layer_that_counted_nothing_has_no_load() -> None:
    assert shares(np.zeros(4)).tolist() == [0, 0, 0, 0]
    assert violation(np.zeros(4)) == 0
