"""The unigram and gzip baselines against direct computations."""

import gzip
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.baselines import gzip_bits_per_byte, unigram_bits_per_byte, unigram_nats

TEXT = (gzip.__doc__ or "").encode() * 20


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_the_unigram_equals_a_direct_computation(training: list[int], targets: list[int]) -> None:
    seen = Counter(training)
    bits = sum(-math.log2((seen[token] + 1) / (len(training) + 10)) for token in targets)
    nats = unigram_nats(np.bincount(training, minlength=10))
    assert unigram_bits_per_byte(nats, np.array(targets), 7) == pytest.approx(bits / 7)
    assert np.exp(-nats).sum() == pytest.approx(1)


def test_gzip_equals_the_standard_library() -> None:
    assert gzip_bits_per_byte(TEXT) == 8 * len(gzip.compress(TEXT, 9)) / len(TEXT)
    assert gzip_bits_per_byte(TEXT) < 1
