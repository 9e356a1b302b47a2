"""Loading a tokenizer.json, checked: byte-level, lossless, with the special tokens."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

from pipeline.artifact.files import ArtifactError
from pipeline.tokenizer.special import special_ids

PROBE = "Tokens 12345,  two spaces\n\n\tdef f(x):\r\n e\u0301 \u00e9 \ufb01 \u6f22\u5b57 \U0001f600 \u200b\x00 end "
"""Text that normalisation of any kind would change."""


def load_tokenizer(path: Path) -> Tokenizer:
    """Load a byte-level BPE tokenizer.

    Raises ArtifactError if the file cannot be read, is not byte-level BPE, changes text (a normalizer), has holes in
    its ids, or lacks a special token.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises plain Exception for a missing or a broken file
        raise ArtifactError(f"{path} is not a tokenizer that `tokenizers` can read: {error}") from None
    try:
        _check(tokenizer)
        special_ids(tokenizer)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    return tokenizer


def _check(tokenizer: Tokenizer) -> None:
    if not isinstance(tokenizer.model, models.BPE):
        raise ArtifactError(f"its model is {type(tokenizer.model).__name__}, only byte-level BPE is supported")
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    lacking = set(pre_tokenizers.ByteLevel.alphabet()) - vocabulary.keys()
    if lacking:
        raise ArtifactError(f"its vocabulary lacks {len(lacking)} of the 256 bytes, only byte-level BPE is supported")
    largest = max(vocabulary.values())
    if largest >= len(vocabulary):
        raise ArtifactError(
            f"its largest id is {largest}, but it has only {len(vocabulary)} tokens; number them without holes"
        )
    decoded = tokenizer.decode(tokenizer.encode(PROBE, add_special_tokens=False).ids, skip_special_tokens=False)
    if decoded != PROBE:
        raise ArtifactError(
            f"it does not give text back as it was ({PROBE!r} became {decoded!r}); "
            "remove its normalizer and use the ByteLevel pre-tokenizer and decoder"
        )
