"""The schedules against their formulas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.training import MTPWeight, Schedule
from pipeline.train.schedule import bias_update_speed, learning_rate, mtp_weight

TOTAL = 10_000
COSINE = Schedule(kind="cosine", warmup_tokens=1000, final_fraction=0.1)
DEEPSEEK = Schedule(
    kind="constant_then_cosine", warmup_tokens=1000, constant_tokens=5000, decay_tokens=3000, final_fraction=0.25
)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(0, 0.0), (500, 1.0), (1000, 2.0), (5500, 2 * (0.1 + 0.9 / 2)), (10_000, 0.2), (11_000, 0.2)],
)
def test_the_cosine_rises_to_the_peak_and_decays_to_its_end(tokens: int, expected: float) -> None:
    assert learning_rate(tokens, 2.0, TOTAL, COSINE) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(250, 0.5), (1000, 2.0), (6000, 2.0), (7500, 2 * (0.25 + 0.75 / 2)), (9000, 0.5), (9999, 0.5)],
)
def test_deepseek_holds_the_peak_then_decays_then_holds_the_end(tokens: int, expected: float) -> None:
    assert learning_rate(tokens, 2.0, TOTAL, DEEPSEEK) == pytest.approx(expected)


def test_a_warm_up_as_long_as_the_stage_ends_at_the_peak() -> None:
    assert learning_rate(TOTAL, 2.0, TOTAL, Schedule(warmup_tokens=TOTAL)) == 2.0


@given(st.integers(0, 2 * TOTAL), st.sampled_from([COSINE, DEEPSEEK, Schedule()]))
def test_the_learning_rate_never_jumps_and_never_leaves_its_bounds(tokens: int, schedule: Schedule) -> None:
    here, next_ = (learning_rate(at, 1.0, TOTAL, schedule) for at in (tokens, tokens + 1))
    assert 0 <= here <= 1
    assert abs(next_ - here) < 1.001 / 1000
    if tokens >= 1000:
        assert next_ <= here


def test_the_mtp_weight_changes_once() -> None:
    weight = MTPWeight(initial=0.3, final=0.1, switch_fraction=0.75)
    assert [mtp_weight(tokens, TOTAL, weight) for tokens in (0, 7499, 7500, TOTAL)] == [0.3, 0.3, 0.1, 0.1]


def test_router_biases_rest_towards_the_end() -> None:
    assert [bias_update_speed(tokens, TOTAL, 0.001, 0.96) for tokens in (1, 9600, 9601)] == [0.001, 0.001, 0.0]
