"""Text to token ids, with the fastest engine whose ids equal those of `tokenizers`.

Measured: gigatoken encodes some 50 to 100 times as much text a second as `tokenizers`. It is used only after its ids
were compared on built-in texts and a slice of the real data. The engine is execution: it never decides content.
"""

import importlib.metadata
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from pipeline.tokenizer.lengths import token_bytes
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import SPECIAL_TOKENS

Engine = Callable[[list[str]], tuple[np.ndarray, np.ndarray]]
"""Encodes texts to ids (uint32, of all texts in order) and to each text's count of ids (int64)."""

PROBE_CHARACTERS = 1 << 18
PROBE_TEXT_CHARACTERS = 1 << 13
PROBES = (
    "",
    " ",
    "The quick brown fox jumps over the lazy dog's 1234567890 tails.",
    "def f(x: int) -> str:\n    return f'{x:>10}'  # half\n\n\n\tend\r\n\r\nnext\r",
    "na\u00efve caf\u00e9 e\u0301 \ufb01 \u00df \u0130 \u03a3\u03c2 \u0416\u0438",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
    "\u6f22\u5b57\u304b\u306a\u30ab\u30ca123\u4e2d\u6587\uff0c\u3002",
    "\ud55c\uad6d\uc5b4 \U00020000\U0001f600\u200d\U0001f525",
    "\u0661\u0662\u0663\u0664 \u2163 \u00bd 3.14159e-10 0xDEADBEEF 1,000,000",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ...---=== !word ?!word $x @y #z",
    " " * 1000 + "a" * 3000 + "\n" * 500 + "\t \t" * 200 + "\u3000\u00a0\u2028\u200b\x00\x7f\x85",
    "".join(SPECIAL_TOKENS) + " ".join(SPECIAL_TOKENS) + "<|endoftext|></s>[INST]",
)


class Encoder:
    """Encodes texts with a checked engine; see `encoder`."""

    def __init__(self, reference: Engine, lengths: np.ndarray, report: dict[str, Any]) -> None:
        """Start with the reference engine; `lengths` are the bytes behind each id."""
        self._engine = self._reference = reference
        self._lengths = lengths
        self.report = report
        """Which engine is used and the verdict on it, for the manifest."""

    @property
    def name(self) -> str:
        """The engine in use: `gigatoken` or `tokenizers`."""
        return str(self.report["engine"])

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Encode texts: one uint32 array each, without special tokens.

        The name of a special token in a text is encoded as the text it is.
        """
        ids, counts = self._checked(list(texts))
        return np.split(ids, np.cumsum(counts)[:-1]) if len(counts) else []

    def use(self, engine: Engine, name: str) -> None:
        """Change to another engine."""
        self._engine = engine
        self.report["engine"] = name

    def _checked(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encode; ids that do not stand for every byte of the text are never handed out."""
        ids, counts = self._engine(texts)
        if self._engine is self._reference or int(self._lengths[ids].sum()) == sum(map(_utf8_length, texts)):
            return ids, counts
        self.report["verdict"] = f"{self.name} lost bytes of a text; changed to tokenizers"
        self.use(self._reference, "tokenizers")
        return self._reference(texts)


def encoder(tokenizer_path: Path, probe: Sequence[str]) -> Encoder:
    """The fastest encoder that is right: gigatoken if its ids equal those of `tokenizers`, else `tokenizers`.

    `probe` is a slice of the real data, compared beside the built-in probes.
    Raises ArtifactError if the tokenizer cannot be used.
    """
    tokenizer = load_tokenizer(tokenizer_path)
    plain = _without_special_tokens(tokenizer)
    reference = _tokenizers_engine(plain)
    texts = [*PROBES, *_slice(probe)]
    report = {"engine": "tokenizers", "checked_texts": len(texts), "checked_bytes": sum(map(_utf8_length, texts))}
    chosen = Encoder(reference, token_bytes(tokenizer), report)
    try:
        fast = _gigatoken_engine(plain)
        equal = all(np.array_equal(a, b) for a, b in zip(fast(texts), reference(texts), strict=True))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in a Rust extension is no Exception
        report["verdict"] = f"gigatoken cannot be used: {type(error).__name__}: {error}"[:300]
        return chosen
    if equal:
        chosen.use(fast, "gigatoken")
    report["verdict"] = (
        f"gigatoken {_version('gigatoken')}: ids {'equal' if equal else 'differ from'} those of tokenizers"
    )
    return chosen


def _slice(probe: Sequence[str]) -> Iterator[str]:
    """The beginnings of the first texts, so many as `tokenizers` encodes in a fraction of a second."""
    for text in probe[: PROBE_CHARACTERS // PROBE_TEXT_CHARACTERS]:
        yield text[:PROBE_TEXT_CHARACTERS]


def _without_special_tokens(tokenizer: Tokenizer) -> str:
    """The tokenizer's JSON without special tokens, so that their names in a text are only text."""
    plain = json.loads(tokenizer.to_str())
    plain["added_tokens"] = [
        token for token in plain["added_tokens"] if not token["special"] and token["content"] not in SPECIAL_TOKENS
    ]
    plain["post_processor"] = plain["truncation"] = plain["padding"] = None
    return json.dumps(plain)


def _tokenizers_engine(plain: str) -> Engine:
    tokenizer = Tokenizer.from_str(plain)

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        ids = np.fromiter((number for row in rows for number in row), dtype=np.uint32, count=int(counts.sum()))
        return ids, counts

    return encode


def _gigatoken_engine(plain: str) -> Engine:
    import gigatoken  # optional at run time: no wheel exists for every platform

    tokenizer = gigatoken.Tokenizer.from_json(plain)

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        layout = tokenizer.encode_batch(texts, parallel=False).layout
        offsets = np.asarray(layout.offsets.data)
        ids = np.asarray(layout.content.data)[offsets[0] : offsets[-1]]
        return ids.astype(np.uint32, copy=False), np.diff(offsets)

    return encode


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _version(package: str) -> str:
    return importlib.metadata.version(package)
