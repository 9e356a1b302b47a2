"""Ids give back the text they were made of, byte for byte."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.evaluate.text import byte_characters, join_text, token_texts
from pipeline.tokenizer.lengths import token_bytes
from pipeline.tokenizer.special import SPECIAL_TOKENS


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([str(np.__doc__)], trainer)
    tokenizer.add_tokens(["<été>"])
    return tokenizer


TOKENIZER = _tokenizer()
TEXTS = token_texts(TOKENIZER)


@given(st.text(max_size=80))
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False).ids
    assert join_text(TEXTS, np.array(ids, dtype=np.int64)).decode() == text or any(
        name in text for name in SPECIAL_TOKENS
    )


def test_special_tokens_are_silent_and_added_ones_are_not() -> None:
    ids = TOKENIZER.encode(f"a{SPECIAL_TOKENS[1]}b<été>").ids
    assert join_text(TEXTS, np.array(ids)).decode() == "ab<été>"


def test_lengths_agree_with_the_tokenizers_own_table() -> None:
    assert [len(text) for text in TEXTS] == token_bytes(TOKENIZER).tolist()


def test_the_byte_table_is_that_of_the_tokenizers_library() -> None:
    assert sorted(byte_characters()) == sorted(pre_tokenizers.ByteLevel.alphabet())
