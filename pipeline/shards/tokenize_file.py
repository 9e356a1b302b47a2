"""One raw file to parts on disk: token ids, lengths and index of each of its documents, in bounded memory."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.artifact.files import ArtifactError, sha256_of
from pipeline.corpus.records import BadRecords, Document, read_documents
from pipeline.corpus.split import is_validation
from pipeline.settings.tokens import TokenizeStep
from pipeline.shards.layout import SPLITS, id_type
from pipeline.tokenizer.encode import Encoder, encoder
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import special_ids

BATCH_CHARACTERS = 4 << 20
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
    tokenizer_sha256: str
    probe: tuple[str, ...]
    settings: TokenizeStep

    def part(self, kind: str) -> Path:
        """The path of one of its parts."""
        return self.parts / f"{self.number}.{kind}"


@dataclass
class FileCounts:
    """What one file gave. Counts by split are in the order of SPLITS."""

    histogram: np.ndarray
    """How often each id occurs in the train split: int64 of shape [vocabulary]."""
    documents: list[int] = field(default_factory=lambda: [0, 0])
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    text_bytes: list[int] = field(default_factory=lambda: [0, 0])
    bad: BadRecords = field(default_factory=BadRecords)
    encoder: dict[str, Any] = field(default_factory=dict)
    """The encoder's report."""


@dataclass(frozen=True)
class TokenFormat:
    """What a tokenizer's ids look like."""

    vocabulary: int
    special: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Path) -> "TokenFormat":
        """Read it off a tokenizer. Raises ArtifactError if the tokenizer cannot be used."""
        loaded = load_tokenizer(tokenizer)
        return cls(loaded.get_vocab_size(with_added_tokens=True), tuple(special_ids(loaded)))

    def histogram(self, ids: np.ndarray, path: Path) -> np.ndarray:
        """Count ids: int64 of shape [vocabulary]. Raises ArtifactError if they are not those of text."""
        found = np.bincount(ids, minlength=self.vocabulary)
        if len(found) > self.vocabulary or found[list(self.special)].any():
            raise ArtifactError(
                f"{path}: its text was encoded to ids that are no text (special tokens, or beyond the vocabulary of "
                f"{self.vocabulary}); the end of a document could not be told from it. Use another tokenizer"
            )
        return found


def probe_of(path: Path) -> tuple[str, ...]:
    """The first texts of a raw file, to check an encoder with."""
    documents = islice(read_documents(path, BadRecords()), PROBE_DOCUMENTS)
    return tuple(document.text[:PROBE_CHARACTERS] for document in documents)


def tokenize_file(job: FileJob) -> FileCounts:
    """Write a file's parts: raw tokens and lengths of each split, and the index of both as an Arrow file.

    Raises ArtifactError if the file is not the one its manifest describes, or cannot be read.
    """
    _check(job.path, job.sha256)
    _check(job.tokenizer, job.tokenizer_sha256)
    form, encode = _tools(job.tokenizer, job.tokenizer_sha256, job.probe)
    counts = FileCounts(np.zeros(form.vocabulary, np.int64))
    with _Parts(job, form, counts) as parts:
        for batch in _batches(read_documents(job.path, counts.bad, job.settings.max_line_bytes)):
            parts.append(batch, encode.encode_batch([document.text for document in batch]))
    counts.encoder = dict(encode.report)
    return counts


def _check(path: Path, sha256: str) -> None:
    if sha256_of(path) != sha256:
        raise ArtifactError(f"{path} has other bytes than its manifest says; delete it and run the workflow again")


@lru_cache(maxsize=1)
def _tools(tokenizer: Path, sha256: str, probe: tuple[str, ...]) -> tuple[TokenFormat, Encoder]:
    """Load the encoder, once for all the files of a process; `sha256` tells tokenizers in the same place apart."""
    return TokenFormat.of(tokenizer), encoder(tokenizer, probe)


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class _Parts(ExitStack):
    """A file's parts while they are written."""

    def __init__(self, job: FileJob, form: TokenFormat, counts: FileCounts) -> None:
        super().__init__()
        self.job, self.form, self.counts = job, form, counts
        self.tokens = [self.enter_context(job.part(f"{split}.tokens").open("wb")) for split in SPLITS]
        self.lengths = [self.enter_context(job.part(f"{split}.lengths").open("wb")) for split in SPLITS]
        sink = self.enter_context(pa.OSFile(str(job.part("index")), "wb"))
        self.index = self.enter_context(pa.ipc.new_file(sink, INDEX_SCHEMA))

    def append(self, batch: list[Document], ids: list[np.ndarray]) -> None:
        """Add documents with their ids to their splits' parts and to the index."""
        validation = self.job.settings.validation
        sides = (is_validation(document.text, validation.fraction, validation.seed) for document in batch)
        side = np.fromiter(sides, np.int8, len(batch))
        sizes = np.fromiter((len(document.text.encode()) for document in batch), np.int64, len(batch))
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        number = np.empty(len(batch), np.int64)
        for split in range(len(SPLITS)):
            chosen = np.flatnonzero(side == split)
            number[chosen] = self.counts.documents[split] + np.arange(len(chosen))
            self.counts.text_bytes[split] += int(sizes[chosen].sum())
            self._write(split, [ids[position] for position in chosen], lengths[chosen])
        self.index.write_batch(_index(self.job.relative, batch, side, number, sizes, lengths))

    def _write(self, split: int, ids: list[np.ndarray], lengths: np.ndarray) -> None:
        text = np.concatenate([np.empty(0, np.uint32), *ids])
        found = self.form.histogram(text, self.job.path)
        if SPLITS[split] == "train":
            self.counts.histogram += found
        self.tokens[split].write(text.astype(id_type(self.form.vocabulary)).data)
        self.lengths[split].write(lengths.astype("<i8").data)
        self.counts.documents[split] += len(ids)
        self.counts.tokens[split] += len(text)


def _index(
    file: str, batch: list[Document], side: np.ndarray, number: np.ndarray, sizes: np.ndarray, lengths: np.ndarray
) -> pa.RecordBatch:
    zeros = pa.array(np.zeros(len(batch), np.int32))
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(side), pa.array(SPLITS)),
        pa.array(number),
        pa.DictionaryArray.from_arrays(zeros, pa.array([file])),
        pa.array([document.line for document in batch], pa.int64()),
        pa.array([document.id for document in batch], pa.string()),
        pa.array(sizes),
        pa.array(lengths),
    ]
    return pa.record_batch(columns, schema=INDEX_SCHEMA)
