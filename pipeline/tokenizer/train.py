"""Training a byte-level BPE tokenizer with DeepSeek-V3's pre-tokenisation and special tokens."""

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.tokenizer.pretokenizer import pretokenizer
from pipeline.tokenizer.special import SPECIAL_TOKENS

MIN_FREQUENCY = 2
"""A pair that occurs once is chance: merging it would spend an id on nothing."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn merges until the vocabulary has `vocab_size` tokens, or no pair occurs twice.

    The special tokens have the ids 0 to 5, then come the 256 bytes, then the merges.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pretokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=[AddedToken(name, special=True, normalized=False) for name in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
