"""Settings of the tokenizer: trained on a sample of the corpus, or the user's own."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, field_validator

from pipeline.settings.base import Settings, SettingsError, execution
from pipeline.settings.corpus import MAX_LINE_BYTES, Validation

MIN_VOCAB_SIZE = 256 + 6
"""The 256 bytes and the special tokens: begin, end, pad, and three for fill-in-the-middle."""


class TokenizerSettings(Settings):
    """The vocabulary, and the sample of text that decides it."""

    vocab_size: int = 8192
    """Tokens in the vocabulary, the special ones among them. With a `path`: the most that the file may have."""
    sample_bytes: int = Field(8_000_000, gt=0)
    """Bytes of training text to learn from, shared out by the domains' weights."""
    seed: int = Field(0, ge=0)
    """Another seed draws another sample."""
    path: str | None = execution(None)
    """Your own tokenizer.json (byte-level BPE with DeepSeek-V3's special tokens); without it one is trained."""

    @field_validator("vocab_size")
    @classmethod
    def _holds_bytes_and_special_tokens(cls, vocab_size: int) -> int:
        if vocab_size < MIN_VOCAB_SIZE:
            raise ValueError(
                f"{vocab_size} is too small: 256 bytes and 6 special tokens must fit; write at least {MIN_VOCAB_SIZE}"
            )
        return vocab_size


class TokenizerTraining(Settings):
    """What decides a trained tokenizer, beside the size of its vocabulary."""

    sample_bytes: int = Field(gt=0)
    seed: int = Field(ge=0)
    weights: dict[str, float]
    """The domains' shares of the sample; they sum to 1."""
    validation: Validation
    """Validation documents are kept out of the sample."""
    max_line_bytes: int = MAX_LINE_BYTES


class TokenizerStep(Settings):
    """What decides the content of the tokenizer: a training, or the content of the user's own file."""

    vocab_size: int
    training: TokenizerTraining | None = None
    own_sha256: str | None = None
    """The SHA-256 of the user's own file: editing it makes the tokenizer stale, moving it does not."""
    path: str | None = execution(None)
    """Where the user's own file lies now."""


def tokenizer_step(
    settings: TokenizerSettings,
    weights: Mapping[str, float],
    validation: Validation,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> TokenizerStep:
    """Compose the step's settings; the user's own file, if there is one, is hashed now.

    Raises SettingsError if the own file cannot be read.
    """
    if settings.path is None:
        training = TokenizerTraining(
            sample_bytes=settings.sample_bytes,
            seed=settings.seed,
            weights={name: weight for name, weight in weights.items() if weight > 0},
            validation=validation,
            max_line_bytes=max_line_bytes,
        )
        return TokenizerStep(vocab_size=settings.vocab_size, training=training)
    try:
        content = hashlib.sha256(Path(settings.path).read_bytes()).hexdigest()
    except OSError as error:
        raise SettingsError(
            f"tokenizer.path: {settings.path} cannot be read ({error.strerror}); "
            "correct the path, or leave it out so that a tokenizer is trained"
        ) from None
    return TokenizerStep(vocab_size=settings.vocab_size, own_sha256=content, path=settings.path)
