"""DeepSeek-V3's pre-tokenisation: where text is cut before byte pairs are merged.

As in DeepSeek-V3's published tokenizer.json: digits in groups of three at most, runs of Chinese and Japanese
characters, then words, punctuation with line ends, and white space. A token never crosses such a cut.
"""

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Sequence, Split

NUMBERS = r"\p{N}{1,3}"
HAN_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
WORDS = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*"
    "|\\s*[\r\n]+"
    "|\\s+(?!\\S)"
    "|\\s+"
)
"""CR and LF are literal characters here, not escapes: the fast engine knows pre-tokenisers by their text."""


def pretokenizer() -> PreTokenizer:
    """Build DeepSeek-V3's pre-tokeniser: three splits, then bytes as characters."""
    splits = [Split(Regex(pattern), behavior="isolated") for pattern in (NUMBERS, HAN_AND_KANA, WORDS)]
    return Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])
