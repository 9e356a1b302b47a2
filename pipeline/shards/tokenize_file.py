"""One raw file to parts on disk: token ids, lengths and index of each of its documents, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from pipeline.artifact.files import ArtifactError, sha256_of
from pipeline.corpus.records import BadRecords, Document, read_documents
from pipeline.corpus.split import is_validation
from pipeline.settings.tokens import TokenizeStep
from pipeline.tokenizer.encode import Encoder, encoder
from pipeline.tokenizer.lengths import token_bytes
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import special_ids

SPLITS = ("train", "validation")
BATCH_BYTES = 4 << 20
PROBE_DOCUMENTS = 32
PROBE_CHARACTERS = 4096
INDEX_SCHEMA = pa.schema(
    [
        ("split", pa.dictionary(pa.int8(), pa.string())),
        ("document", pa.int64()),
        ("file", pa.dictionary(pa.int32(), pa.string())),
        ("line", pa.int64()),
        ("id", pa.string()),
        ("text_bytes", pa.int64()),
        ("tokens", pa.int64()),
    ]
)
"""`document` is the document's number within its split of the block, `file` the raw file's path in its artifact."""


@dataclass(frozen=True)
class FileJob:
    """One raw file, and where its parts go."""

    path: Path
    relative: str
    """Its path in its artifact."""
    sha256: str
    """What its artifact's manifest says."""
    parts: Path
    """The folder of the parts; theirs begin with `number`."""
    number: int
    tokenizer: Path
    probe: tuple[str, ...]
    settings: TokenizeStep

    def part(self, kind: str) -> Path:
        """The path of one of its parts."""
        return self.parts / f"{self.number}.{kind}"


@dataclass
class FileCounts:
    """What one file gave. Counts by split are in the order of SPLITS."""

    documents: list[int]
    tokens: list[int]
    text_bytes: list[int]
    histogram: np.ndarray
    """How often each id occurs in the train split: int64 of shape [vocabulary]."""
    bad: BadRecords = field(default_factory=BadRecords)
    encoder: dict[str, Any] = field(default_factory=dict)
    """The encoder's report."""


@dataclass(frozen=True)
class TokenFormat:
    """What a tokenizer's ids look like on disk."""

    vocabulary: int
    special: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Path) -> "TokenFormat":
        """Read it off a tokenizer. Raises ArtifactError if the tokenizer cannot be used."""
        loaded = load_tokenizer(tokenizer)
        return cls(len(token_bytes(loaded)), tuple(special_ids(loaded)))

    @property
    def dtype(self) -> np.dtype:
        """The smallest type that holds every id."""
        return np.dtype("<u2" if self.vocabulary <= 1 << 16 else "<u4")


def probe_of(path: Path) -> tuple[str, ...]:
    """The first texts of a raw file, to check an encoder with."""
    documents = islice(read_documents(path, BadRecords()), PROBE_DOCUMENTS)
    return tuple(document.text[:PROBE_CHARACTERS] for document in documents)


def tokenize_file(job: FileJob) -> FileCounts:
    """Write a file's parts: raw tokens and lengths of each split, and the index of both as an Arrow file.

    Raises ArtifactError if the file is not the one its manifest describes, or cannot be read.
    """
    if sha256_of(job.path) != job.sha256:
        raise ArtifactError(f"{job.path} has other bytes than its manifest says; run the workflow again to repair it")
    form, encode = _tools(job.tokenizer, job.probe)
    counts = FileCounts([0, 0], [0, 0], [0, 0], np.zeros(form.vocabulary, np.int64))
    tokens = [open(job.part(f"{split}.tokens"), "wb") for split in SPLITS]
    lengths = [open(job.part(f"{split}.lengths"), "wb") for split in SPLITS]
    try:
        with pa.OSFile(str(job.part("index")), "wb") as sink, pa.ipc.new_file(sink, INDEX_SCHEMA) as index:
            for batch in _batches(read_documents(job.path, counts.bad, job.settings.max_line_bytes)):
                index.write_batch(_write(job, form, encode, batch, counts, tokens, lengths))
    finally:
        for file in (*tokens, *lengths):
            file.close()
    counts.encoder = dict(encode.report)
    return counts


@lru_cache(maxsize=1)
def _tools(tokenizer: Path, probe: tuple[str, ...]) -> tuple[TokenFormat, Encoder]:
    return TokenFormat.of(tokenizer), encoder(tokenizer, probe)


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(
    job: FileJob,
    form: TokenFormat,
    encode: Encoder,
    batch: list[Document],
    counts: FileCounts,
    tokens: list[BinaryIO],
    lengths: list[BinaryIO],
) -> pa.RecordBatch:
    """Encode a batch, append it to its splits' parts, count it, and describe it for the index."""
    ids = encode.encode_batch([document.text for document in batch])
    lens = np.fromiter(map(len, ids), np.int64, len(ids))
    sizes = np.fromiter((len(document.text.encode()) for document in batch), np.int64, len(batch))
    validation = job.settings.validation
    side = np.fromiter(
        (is_validation(document.text, validation.fraction, validation.seed) for document in batch), np.int8, len(batch)
    )
    number = np.empty(len(batch), np.int64)
    for split in range(len(SPLITS)):
        chosen = np.flatnonzero(side == split)
        if len(chosen) == 0:
            continue
        text = np.concatenate([ids[position] for position in chosen])
        found = _histogram(job, form, text)
        if split == 0:
            counts.histogram += found
        tokens[split].write(text.astype(form.dtype).data)
        lengths[split].write(lens[chosen].astype("<i8").data)
        number[chosen] = np.arange(counts.documents[split], counts.documents[split] + len(chosen))
        counts.documents[split] += len(chosen)
        counts.tokens[split] += len(text)
        counts.text_bytes[split] += int(sizes[chosen].sum())
    return _index_batch(job, batch, side, number, sizes, lens)


def _histogram(job: FileJob, form: TokenFormat, ids: np.ndarray) -> np.ndarray:
    """Count ids, which must be those of text."""
    found = np.bincount(ids, minlength=form.vocabulary)
    if len(found) > form.vocabulary or found[list(form.special)].any():
        raise ArtifactError(
            f"{job.path}: its text was encoded to ids that are no text (special tokens, or beyond the vocabulary of "
            f"{form.vocabulary}); the end of a document could not be told from it. Use another tokenizer"
        )
    return found


def _index_batch(
    job: FileJob, batch: list[Document], side: np.ndarray, number: np.ndarray, sizes: np.ndarray, lens: np.ndarray
) -> pa.RecordBatch:
    zeros = pa.array(np.zeros(len(batch), np.int32))
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(side), pa.array(SPLITS)),
        pa.array(number),
        pa.DictionaryArray.from_arrays(zeros, pa.array([job.relative])),
        pa.array([document.line for document in batch], pa.int64()),
        pa.array([document.id for document in batch], pa.string()),
        pa.array(sizes),
        pa.array(lens),
    ]
    return pa.record_batch(columns, schema=INDEX_SCHEMA)
