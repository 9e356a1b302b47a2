"""The sample of text that a tokenizer is trained on: weighted by domain, capped in bytes, the same every time."""

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError
from pipeline.corpus.domain import domain_of
from pipeline.corpus.records import BadRecords, read_documents
from pipeline.corpus.split import is_validation
from pipeline.settings.tokenizer import TokenizerTraining

PIECE_CHARACTERS = 1 << 14
"""Documents are sampled in pieces of this length, so that a few books do not fill the sample."""
OVERSAMPLE = 4
"""Files are read until they hold so many times the bytes that are wanted; a huge corpus is not read whole."""


@dataclass(frozen=True)
class Sample:
    """Pieces of training documents by domain, in the order of their hashes."""

    pieces: Mapping[str, Sequence[str]]
    asked_bytes: Mapping[str, int]

    @property
    def taken_bytes(self) -> dict[str, int]:
        """Bytes of text by domain. A domain that has less than was asked gives all it has."""
        return {name: sum(len(piece.encode()) for piece in pieces) for name, pieces in self.pieces.items()}

    @property
    def digest(self) -> str:
        """The SHA-256 of the sample, in hexadecimal: names it in the manifest."""
        hashed = hashlib.sha256()
        for name, pieces in sorted(self.pieces.items()):
            hashed.update(f"{name} {len(pieces)}\n".encode())
            for piece in pieces:
                data = piece.encode()
                hashed.update(len(data).to_bytes(8, "little") + data)
        return hashed.hexdigest()

    def texts(self) -> Iterator[str]:
        """All pieces, domain by domain."""
        for _, pieces in sorted(self.pieces.items()):
            yield from pieces


def draw_sample(raw: Sequence[Artifact], training: TokenizerTraining) -> Sample:
    """Draw the sample from downloaded blocks; validation documents stay out.

    Raises ArtifactError if a domain with a weight has no block, or if there is no training document at all.
    """
    pieces: dict[str, list[str]] = {}
    asked: dict[str, int] = {}
    for name, weight in sorted(training.weights.items()):
        blocks = [block for block in raw if domain_of(block) == name]
        if not blocks:
            raise ArtifactError(f"tokenizer: domain {name} has weight {weight:g} but no downloaded block; download it")
        asked[name] = round(weight * training.sample_bytes)
        files = _choose_files(blocks, OVERSAMPLE * asked[name], training.seed)
        texts = _training_texts(tqdm(files, desc=f"sample {name}", unit="file", mininterval=1, disable=None), training)
        pieces[name] = smallest_hashes(_pieces(texts), asked[name], training.seed)
    if not any(pieces.values()):
        raise ArtifactError(
            "tokenizer: there is no training document to learn from; lower validation.fraction or give more text"
        )
    return Sample(pieces, asked)


def smallest_hashes(pieces: Iterable[str], wanted_bytes: int, seed: int) -> list[str]:
    """The different pieces with the smallest keyed hashes, in their order: as few as hold `wanted_bytes`.

    A function of the set of pieces: their order does not matter. Holds little more than the result in memory.
    """
    heap: list[tuple[int, str]] = []  # the largest hash first: heapq keeps the smallest, so hashes are negated
    kept: set[int] = set()
    total = 0
    for piece in pieces:
        data = piece.encode()
        hashed = -_hash(data, seed)
        full = total >= wanted_bytes
        if hashed in kept or (full and heap and hashed < heap[0][0]):
            continue
        heapq.heappush(heap, (hashed, piece))
        kept.add(hashed)
        total += len(data)
        while heap and total - len(heap[0][1].encode()) >= wanted_bytes:
            dropped, text = heapq.heappop(heap)
            kept.remove(dropped)
            total -= len(text.encode())
    return [piece for _, piece in sorted(heap, reverse=True)]


def _hash(data: bytes, seed: int) -> int:
    key = seed.to_bytes(16, "little")
    return int.from_bytes(hashlib.blake2b(data, digest_size=16, key=key, person=b"sample").digest(), "little")


def _choose_files(blocks: Iterable[Artifact], wanted_bytes: int, seed: int) -> list[Path]:
    """So many of a domain's files, in an order by hash, as hold `wanted_bytes` of text."""
    counted: list[tuple[int, Artifact, str, dict[str, Any]]] = [
        (_hash(f"{block.name}/{path}".encode(), seed), block, path, count)
        for block in blocks
        for path, count in block.manifest.counts["by_file"].items()
    ]
    chosen: list[Path] = []
    for _, block, path, count in sorted(counted, key=lambda one: one[0]):
        if wanted_bytes <= 0:
            break
        chosen.append(block.path(path))
        wanted_bytes -= count["text_bytes"]
    return chosen


def _training_texts(files: Iterable[Path], training: TokenizerTraining) -> Iterator[str]:
    for path in files:
        # Bad lines were counted and judged when the block was downloaded.
        for document in read_documents(path, BadRecords(), training.max_line_bytes):
            if not is_validation(document.text, training.validation.fraction, training.validation.seed):
                yield document.text


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for start in range(0, len(text), PIECE_CHARACTERS):
            yield text[start : start + PIECE_CHARACTERS]
