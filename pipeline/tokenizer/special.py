"""DeepSeek-V3's special tokens.

Names as in DeepSeek-V3's published tokenizer; a tokenizer trained here gives them the ids 0 to 5, in this order.
"""

from typing import NamedTuple

from tokenizers import Tokenizer

from pipeline.artifact.files import ArtifactError

BAR = "\N{FULLWIDTH VERTICAL LINE}"
GAP = "\N{LOWER ONE EIGHTH BLOCK}"


class SpecialIds(NamedTuple):
    """The ids of the special tokens."""

    begin: int
    """Begin of sentence."""
    end: int
    """End of sentence: stands between documents."""
    pad: int
    fim_hole: int
    """Fill-in-the-middle: stands where the middle was cut out."""
    fim_begin: int
    """Fill-in-the-middle: stands before the prefix."""
    fim_end: int
    """Fill-in-the-middle: stands after the suffix; the middle follows."""


SPECIAL_TOKENS = tuple(
    f"<{BAR}{name.replace(' ', GAP)}{BAR}>"
    for name in ("begin of sentence", "end of sentence", " pad ", "fim hole", "fim begin", "fim end")
)
"""Their names, in the order of their ids and of the fields of SpecialIds."""


def special_ids(tokenizer: Tokenizer) -> SpecialIds:
    """The ids of a tokenizer's special tokens.

    Raises ArtifactError if it does not have all of them.
    """
    found = {name: tokenizer.token_to_id(name) for name in SPECIAL_TOKENS}
    missing = [name for name, number in found.items() if number is None]
    if missing:
        raise ArtifactError(
            f"the tokenizer has no special token {', '.join(missing)}; add it to `added_tokens` of its tokenizer.json "
            "with `special: true`, or leave `tokenizer.path` out so that one is trained"
        )
    return SpecialIds(*(number for number in found.values() if number is not None))
