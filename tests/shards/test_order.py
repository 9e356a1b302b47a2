import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.order import permutation


@given(count=st.integers(0, 300), seed=st.integers(0, 2**63))
def test_every_number_stands_there_once(count, seed):
    assert sorted(permutation(count, seed).tolist()) == list(range(count))


def test_the_order_is_the_same_on_every_machine_and_for_ever():
    assert permutation(8, 0, "wiki", 1).tolist() == [3, 5, 4, 0, 6, 7, 1, 2]


def test_another_key_gives_another_order():
    orders = {tuple(permutation(50, seed, domain, epoch)) for seed in (0, 1) for domain in "ab" for epoch in (0, 1)}
    assert len(orders) == 8


def test_places_are_spread_evenly():
    places = np.array([np.flatnonzero(permutation(10, seed) == 0)[0] for seed in range(2000)])
    counts = np.bincount(places, minlength=10)
    assert np.abs(counts - 200).max() < 60  # the standard deviation is 13
