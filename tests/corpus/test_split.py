"""The split into training and validation."""

import pytest

from pipeline.corpus.split import is_validation

TEXTS = [f"document number {number}" for number in range(20_000)]


@pytest.mark.parametrize("fraction", [0.01, 0.25])
def test_the_fraction_of_documents_falls_into_validation(fraction):
    chosen = sum(is_validation(text, fraction, seed=0) for text in TEXTS)
    deviation = (len(TEXTS) * fraction * (1 - fraction)) ** 0.5
    assert abs(chosen - len(TEXTS) * fraction) < 4 * deviation


def test_a_fraction_of_zero_chooses_nothing():
    assert not any(is_validation(text, 0.0, seed=0) for text in TEXTS)


def test_a_larger_fraction_keeps_the_documents_of_the_smaller():
    small = {text for text in TEXTS if is_validation(text, 0.01, seed=3)}
    assert small
    assert all(is_validation(text, 0.05, seed=3) for text in small)


def test_another_seed_chooses_other_documents():
    first, second = ({text for text in TEXTS if is_validation(text, 0.05, seed)} for seed in (0, 1))
    assert len(first & second) < 0.2 * len(first)


def test_the_choice_is_fixed_for_all_time():
    assert [number for number in range(400) if is_validation(TEXTS[number], 0.01, seed=0)] == [45, 101, 151, 223, 271]
