"""How many bytes of text each token stands for, for bits per byte."""

import numpy as np
from tokenizers import Tokenizer

from pipeline.tokenizer.special import special_ids


def token_bytes(tokenizer: Tokenizer) -> np.ndarray:
    """The length in bytes of the text behind each id: int32 of shape [vocabulary], 0 for special tokens.

    A byte-level token is written with one character for each byte; an added token is written as it is.
    """
    lengths = np.zeros(tokenizer.get_vocab_size(), dtype=np.int32)
    for token, number in tokenizer.get_vocab(with_added_tokens=False).items():
        lengths[number] = len(token)
    for number, added in tokenizer.get_added_tokens_decoder().items():
        lengths[number] = 0 if added.special else len(added.content.encode())
    lengths[list(special_ids(tokenizer))] = 0
    return lengths
