"""Loss, perplexity, bits per byte, accuracy and their error against computations by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.measures import Tally, measure, mix, ratio_error


def _tally(nats: list[list[float]], text_bytes: list[list[int]], correct: list[list[bool]]) -> Tally:
    tally = Tally()
    tally.add_rows(np.array(nats), np.array(text_bytes), np.array(text_bytes) >= 0, np.array(correct))
    return tally


def test_bits_per_byte_equal_a_computation_by_hand() -> None:
    # five targets of 2, 4, 1, 1 and 0 bytes (the last is the end of a document), each at 2 bits
    tally = Tally()
    mask = np.array([[True, True, True], [True, True, False]])
    tally.add_rows(
        2 * math.log(2) * mask, np.array([[2, 4, 1], [1, 0, 0]]), mask, np.array([[True, False, True], [False] * 3])
    )
    found = measure(tally)
    assert found.nats_per_token == pytest.approx(2 * math.log(2))
    assert found.perplexity == pytest.approx(4)
    assert found.bits_per_byte == pytest.approx(5 * 2 / 8)
    assert found.bytes_per_token == pytest.approx(8 / 5)
    assert found.accuracy == pytest.approx(2 / 5)


def test_mtp_depths_are_compared_with_the_main_model_on_the_same_targets() -> None:
    tally = _tally([[1.0] * 4], [[1] * 4], [[True, True, False, True]])
    main = np.array([[True, True, False, True]])
    # depth 0 at places 0 to 3 predicts what the main model predicts at 1 to 4; the row ends before 4
    tally.add_depth(0, np.full((1, 4), True), np.array([[True, True, False, True]]), main)
    tally.add_depth(1, np.array([[True, True, True, False]]), np.array([[False, False, True, False]]), main)
    found = measure(tally)
    assert found.mtp_accuracy == (3 / 4, 1 / 3)
    # the main model knows the targets of depth 0 at places 0 and 2, which got the first; of depth 1 at place 1
    assert found.mtp_acceptance == (1 / 2, 0.0)


@given(st.lists(st.tuples(st.floats(0.1, 9), st.integers(1, 9)), min_size=2, max_size=12), st.integers(1, 11))
def test_rows_add_up_the_same_in_any_batches(rows: list[tuple[float, int]], cut: int) -> None:
    whole, parts = Tally(), Tally()
    nats, text_bytes = np.array([[n] for n, _ in rows]), np.array([[b] for _, b in rows])
    mask = np.ones_like(nats, dtype=bool)
    whole.add_rows(nats, text_bytes, mask, mask)
    for part in (slice(0, cut), slice(cut, None)):
        parts.add_rows(nats[part], text_bytes[part], mask[part], mask[part])
    assert measure(whole) == measure(parts)


def test_the_mixture_is_the_expected_bits_over_the_expected_bytes() -> None:
    code = measure(_tally([[1.0, 1.0]], [[1, 1]], [[True, True]]))
    prose = measure(_tally([[3.0, 3.0]], [[5, 5]], [[False, False]]))
    found = mix({"code": code, "prose": prose}, {"code": 1.0, "prose": 3.0})
    assert found.nats_per_token == pytest.approx(0.25 * 1 + 0.75 * 3)
    assert found.bits_per_byte == pytest.approx((0.25 * 1 + 0.75 * 3) / math.log(2) / (0.25 * 1 + 0.75 * 5))
    assert found.accuracy == pytest.approx(0.25)


def test_a_mixture_of_one_domain_is_that_domain() -> None:
    only = measure(_tally([[1.0, 2.0], [0.5, 4.0]], [[1, 7], [3, 2]], [[True, False], [True, True]]))
    found = mix({"only": only}, {"only": 0.3, "absent": 0.7})
    for name, value in only.plain().items():
        assert found.plain()[name] == pytest.approx(value), name


def test_the_error_of_a_ratio_is_that_of_a_mean_where_all_rows_are_equally_long() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(2.0, 0.1, 500)
    assert ratio_error(rows.tolist(), [1] * 500) == pytest.approx(rows.std(ddof=1) / math.sqrt(500))
    assert ratio_error([2.0], [1]) == 0.0


def test_a_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="the loss is nan"):
        measure(_tally([[math.nan]], [[1]], [[False]]))


def test_domains_without_weight_are_refused() -> None:
    only = measure(_tally([[1.0]], [[1]], [[True]]))
    with pytest.raises(ValueError, match="has a weight"):
        mix({"only": only}, {"other": 1.0})
