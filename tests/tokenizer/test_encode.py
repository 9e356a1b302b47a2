"""Text to token ids, with either engine."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.records import BadRecords, read_documents
from pipeline.tokenizer.encode import PROBES, Encoder, encoder
from pipeline.tokenizer.lengths import token_bytes
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import SPECIAL_TOKENS

NO_SURROGATES = st.characters(exclude_categories=["Cs"])


@pytest.fixture(scope="session")
def fast(path) -> Encoder:
    """The engine that is chosen where gigatoken is installed."""
    pytest.importorskip("gigatoken", reason="gigatoken has no wheel for this platform")
    return encoder(path, ["a slice of real data"])


@pytest.fixture
def slow(path, monkeypatch) -> Encoder:
    """The engine that is chosen where gigatoken is not installed."""
    monkeypatch.setitem(sys.modules, "gigatoken", None)  # its import fails
    return encoder(path, [])


@pytest.fixture(params=["fast", "slow"])
def either(request) -> Encoder:
    """Each engine in turn."""
    return request.getfixturevalue(request.param)


def test_the_fast_engine_is_chosen_after_its_ids_were_compared(fast):
    assert fast.name == fast.report["engine"] == "gigatoken"
    assert "ids equal those of tokenizers" in fast.report["verdict"]
    assert fast.report["checked_texts"] == len(PROBES) + 1


def test_without_the_fast_engine_the_reference_is_chosen_and_the_reason_told(slow):
    assert slow.name == "tokenizers"
    assert "gigatoken cannot be used" in slow.report["verdict"]


def test_both_engines_give_the_ids_of_tokenizers_on_real_text(raw, path, fast, slow):
    texts = [
        document.text
        for block in raw
        for file in block.paths(suffix=".json.gz")
        for document in read_documents(block.path(file), BadRecords())
    ][:40]
    expected = [row.ids for row in load_tokenizer(path).encode_batch(texts, add_special_tokens=False)]
    for engine in (fast, slow):
        assert [row.tolist() for row in engine.encode_batch(texts)] == expected


@settings(deadline=None)
@given(texts=st.lists(st.text(NO_SURROGATES, max_size=100), max_size=5))
def test_tokens_decode_to_the_text(path, fast, texts):
    tokens = load_tokenizer(path)
    rows = fast.encode_batch(texts)
    assert [tokens.decode(row.tolist(), skip_special_tokens=False) for row in rows] == texts
    assert all(row.dtype == np.uint32 for row in rows)


def test_empty_texts_and_empty_batches_give_empty_rows(either):
    assert either.encode_batch([]) == []
    assert [row.tolist() for row in either.encode_batch(["", ""])] == [[], []]
    assert [len(row) > 0 for row in either.encode_batch(["", "x", ""])] == [False, True, False]


def test_names_of_special_tokens_in_a_text_are_only_text(path, either):
    texts = [*SPECIAL_TOKENS, "".join(SPECIAL_TOKENS), f"before {SPECIAL_TOKENS[1]} after"]
    tokens = load_tokenizer(path)
    for text, row in zip(texts, either.encode_batch(texts), strict=True):
        assert row.min() >= len(SPECIAL_TOKENS)
        assert tokens.decode(row.tolist(), skip_special_tokens=True) == text


def test_added_tokens_that_are_not_marked_special_cannot_be_injected_either(path, tmp_path):
    data = json.loads(path.read_text())
    for token in data["added_tokens"]:
        token["special"] = False
    own = tmp_path / "own.json"
    own.write_text(json.dumps(data))
    (row,) = encoder(own, []).encode_batch([SPECIAL_TOKENS[3]])
    assert row.min() >= len(SPECIAL_TOKENS)


def test_a_template_of_an_own_tokenizer_adds_nothing(path, tmp_path):
    data = json.loads(path.read_text())
    begin = {"SpecialToken": {"id": SPECIAL_TOKENS[0], "type_id": 0}}
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {SPECIAL_TOKENS[0]: {"id": SPECIAL_TOKENS[0], "ids": [0], "tokens": [SPECIAL_TOKENS[0]]}},
    }
    own = tmp_path / "own.json"
    own.write_text(json.dumps(data))
    (row,) = encoder(own, []).encode_batch(["hello"])
    assert row.tolist() == encoder(path, []).encode_batch(["hello"])[0].tolist()


def test_an_engine_that_loses_bytes_is_given_up_and_the_text_encoded_again(path, slow):
    def lossy(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        rows = slow.encode_batch([text[1:] for text in texts])
        return np.concatenate(rows), np.array([len(row) for row in rows])

    reference = slow._reference
    doubtful = Encoder(reference, token_bytes(load_tokenizer(path)), {"engine": "tokenizers"})
    doubtful.use(lossy, "lossy")
    assert doubtful.encode_batch(["hello world"])[0].tolist() == slow.encode_batch(["hello world"])[0].tolist()
    assert doubtful.name == "tokenizers"
    assert "lossy lost bytes" in doubtful.report["verdict"]
