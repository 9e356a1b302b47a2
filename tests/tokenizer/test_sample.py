"""The sample that a tokenizer is trained on."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact.files import ArtifactError
from pipeline.corpus.records import BadRecords, read_documents
from pipeline.corpus.split import is_validation
from pipeline.settings.corpus import Validation
from pipeline.settings.tokenizer import TokenizerStep, TokenizerTraining
from pipeline.tokenizer.sample import PIECE_CHARACTERS, draw_sample, smallest_hashes

Training = Callable[..., TokenizerTraining]


@pytest.fixture
def training(step: TokenizerStep) -> Training:
    """The settings of the sample that the trained tokenizer learned from, with changes."""
    assert step.training is not None
    return partial(changed, step.training)


def changed(training: TokenizerTraining, **changes: Any) -> TokenizerTraining:
    return training.model_copy(update=changes)


def test_domains_give_their_shares_of_the_bytes(raw, training):
    sample = draw_sample(raw, training())
    assert sample.asked_bytes == {"language_reference": 50_000, "python_code": 150_000}
    for name, taken in sample.taken_bytes.items():
        assert sample.asked_bytes[name] <= taken < sample.asked_bytes[name] + 4 * PIECE_CHARACTERS


def test_two_draws_are_equal_and_another_seed_draws_another_sample(raw, training):
    first, second, other = (draw_sample(raw, training(seed=seed)) for seed in (0, 0, 1))
    assert first == second
    assert first.digest == second.digest != other.digest


def test_the_order_of_the_blocks_does_not_matter(raw, training):
    assert draw_sample(raw, training()) == draw_sample(raw[::-1], training())


def test_the_sample_is_not_the_head_of_the_files(raw, training):
    (block,) = (block for block in raw if block.name == "raw/python_code/0000")
    (file,) = block.paths(suffix=".json.gz")
    documents = [document.text for document in read_documents(block.path(file), BadRecords())]
    pieces = draw_sample(raw, training()).pieces["python_code"]
    places = {number for number, text in enumerate(documents) if any(piece in text for piece in pieces)}
    assert max(places) > 0.8 * len(documents)


def test_no_validation_document_is_in_the_sample(raw, training):
    validation = training().validation
    held_out, seen = [], []
    for block in raw:
        for file in block.paths(suffix=".json.gz"):
            for document in read_documents(block.path(file), BadRecords()):
                chosen = is_validation(document.text, validation.fraction, validation.seed)
                (held_out if chosen else seen).append(document.text)
    pieces = list(draw_sample(raw, training(sample_bytes=100_000_000)).texts())
    assert held_out
    assert not {text[:PIECE_CHARACTERS] for text in held_out} & set(pieces)
    assert {text[:PIECE_CHARACTERS] for text in seen} <= set(pieces)


def test_a_domain_with_too_little_text_gives_all_it_has(raw, training):
    sample = draw_sample(raw, training(sample_bytes=100_000_000))
    assert 0 < sample.taken_bytes["language_reference"] < sample.asked_bytes["language_reference"]


def test_a_domain_without_a_weight_gives_nothing(raw, training):
    sample = draw_sample(raw, training(weights={"language_reference": 1.0}))
    assert set(sample.pieces) == {"language_reference"}


def test_a_weighted_domain_without_a_block_is_refused_with_its_name(raw, training):
    with pytest.raises(ArtifactError, match=r"domain wiki has weight 0\.5 but no downloaded block"):
        draw_sample(raw, training(weights={"wiki": 0.5, "python_code": 0.5}))


def test_a_corpus_of_validation_documents_only_is_refused(raw, training):
    with pytest.raises(ArtifactError, match=r"no training document.*validation\.fraction"):
        draw_sample(raw, training(validation=Validation(fraction=1 - 1e-12)))


@given(
    texts=st.lists(st.text(min_size=1, max_size=20), max_size=40), wanted=st.integers(0, 300), seed=st.integers(0, 5)
)
def test_the_smallest_hashes_are_a_function_of_the_set_of_pieces(texts, wanted, seed):
    shuffled = texts * 2
    random.Random(seed).shuffle(shuffled)
    drawn = smallest_hashes(texts, wanted, seed)
    assert drawn == smallest_hashes(shuffled, wanted, seed)
    everything = smallest_hashes(texts, 1 << 30, seed)
    assert set(everything) == set(texts)
    assert drawn == everything[: len(drawn)]
    sizes = [len(piece.encode()) for piece in drawn]
    assert sum(sizes[:-1]) < wanted or not drawn
    assert sum(sizes) >= wanted or drawn == everything
