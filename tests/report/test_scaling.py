"""Power laws are recovered from points with known parameters, and intervals hold what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.report.scaling import fit, predict

COMPUTE = np.geomspace(1e15, 1e20, 8)


@given(floor=st.floats(0.3, 1.5), scale=st.floats(0.2, 3.0), exponent=st.floats(0.05, 0.8))
@settings(max_examples=40, deadline=None)
def test_the_parameters_of_exact_points_are_recovered(floor: float, scale: float, exponent: float) -> None:
    law = fit(COMPUTE, floor + scale * (COMPUTE / 1e15) ** -exponent)
    assert law.exponent == pytest.approx(exponent, rel=1e-3)
    assert law.floor == pytest.approx(floor, abs=2e-3)
    assert law.scale * (1e15 / law.unit) ** -law.exponent == pytest.approx(scale, rel=5e-3)
    assert law.spread < 1e-4


def test_an_interval_holds_new_points_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    held = 0
    for _ in range(100):
        noise = np.exp(0.01 * random.standard_normal(9))
        points, new = 0.9 + 1.2 * (COMPUTE / 1e15) ** -0.3, 0.9 + 1.2 * 1e6**-0.3
        drawn = points * noise[:8]
        found = predict(fit(COMPUTE, drawn), COMPUTE, 1e21)
        held += found.low <= new * noise[8] <= found.high
    assert 75 <= held <= 98  # 90 promised; eight points estimate their own spread


def test_an_interval_grows_with_the_distance_from_the_points() -> None:
    loss = (0.9 + 1.2 * (COMPUTE / 1e15) ** -0.3) * np.array([1.01, 0.99, 1.0, 1.01, 0.99, 1.01, 1.0, 0.99])
    law = fit(COMPUTE, loss)
    near, far = predict(law, COMPUTE, 2e20), predict(law, COMPUTE, 1e25)
    assert near.low < near.loss < near.high
    assert far.high - far.low > near.high - near.low


def test_the_same_seed_gives_the_same_interval() -> None:
    law = fit(COMPUTE, 1 + (COMPUTE / 1e15) ** -0.2)
    assert predict(law, COMPUTE, 1e21, noise=0.01, seed=3) == predict(law, COMPUTE, 1e21, noise=0.01, seed=3)
    assert predict(law, COMPUTE, 1e21, noise=0.01, seed=3) != predict(law, COMPUTE, 1e21, noise=0.01, seed=4)


def test_three_points_fit_exactly_and_give_no_interval_of_their_own() -> None:
    x = np.array([1e15, 1e17, 1e19])
    law = fit(x, np.array([2.0, 1.4, 1.1]))
    assert law.at(x) == pytest.approx([2.0, 1.4, 1.1], rel=1e-5)
    with pytest.raises(ValueError, match="more than three points"):
        predict(law, x, 1e20)
    assert predict(law, x, 1e20, noise=0.01).low < law.at(1e20)


def test_a_loss_that_rises_becomes_a_constant() -> None:
    law = fit(COMPUTE, np.linspace(1.0, 1.2, 8))
    assert law.scale == 0
    assert law.at(1e25) == pytest.approx(law.at(1e15))


def test_too_few_different_points_are_refused() -> None:
    with pytest.raises(ValueError, match="needs as many different points, not 2"):
        fit(np.array([1e15, 1e15, 1e16]), np.array([2.0, 2.1, 1.9]))


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        fit(np.array([1e15, 1e16, 1e17]), np.array([2.0, np.nan, 1.9]))
