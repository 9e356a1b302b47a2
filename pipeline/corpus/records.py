"""Reading Dolma-format files: one JSON object a line, gzip-compressed, line by line in bounded memory."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from isal import igzip, igzip_lib

from pipeline.artifact.files import ArtifactError
from pipeline.settings.corpus import MAX_LINE_BYTES

KINDS = ("not_json", "no_text", "text_not_string", "empty_text", "invalid_utf8", "line_too_long")
MAX_EXAMPLES = 5
SKIP_BYTES = 1 << 20


class Document(NamedTuple):
    """One document of a file."""

    line: int
    """The number of its line, counted from 1."""
    id: str
    """Its id, as the file says. Ids repeat: the key of a document is its file and line."""
    text: str


@dataclass
class BadRecords:
    """Lines that gave no document, counted by kind, with the first examples."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, path: Path, line: int, what: str) -> None:
        """Count one line, and remember it if it is among the first."""
        self.counts[kind] += 1
        if kind != "empty_text" and len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{path} line {line}: {what}")

    def add_all(self, other: "BadRecords") -> None:
        """Add another count, for instance that of another process."""
        for kind, count in other.counts.items():
            self.counts[kind] += count
        self.examples = (self.examples + other.examples)[:MAX_EXAMPLES]

    @property
    def failed(self) -> int:
        """The number of unreadable lines. An empty text is readable: it occurs in real Dolma."""
        return sum(count for kind, count in self.counts.items() if kind != "empty_text")

    def check(self, documents: int, max_bad_fraction: float, where: str) -> None:
        """Raise ArtifactError if too large a fraction of the lines was unreadable.

        `documents` is the number of documents that were read beside them; `where` says which block this is.
        """
        lines = documents + self.counts["empty_text"] + self.failed
        if self.failed > max_bad_fraction * lines:
            kinds = ", ".join(f"{kind} {self.counts[kind]}" for kind in KINDS if self.counts[kind])
            raise ArtifactError(
                f"{where}: {self.failed} of {lines} lines are unreadable ({kinds}), more than max_bad_fraction "
                f"{max_bad_fraction:g} allows. The first: {'; '.join(self.examples)}. "
                "Repair or replace the files, or raise max_bad_fraction"
            )


class _Record(msgspec.Struct):
    text: str
    id: Any = None


class _Bad(Exception):
    """A line without a document: its kind, and what is wrong with it."""

    def __init__(self, kind: str, what: str) -> None:
        """Say `what` for people, beside the kind for counting."""
        super().__init__(what)
        self.kind = kind


_decode = msgspec.json.Decoder(_Record).decode


def read_documents(path: Path, bad: BadRecords, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Document]:
    """Read a .json.gz file's documents in order; lines without a document are counted in `bad`.

    Blank lines are skipped. Only `id` and `text` are decoded: the other keys differ between sources.
    Raises ArtifactError if the file is missing, empty, truncated, or not gzip, when reading comes to the fault.
    """
    for line, data in _lines(path, bad, max_line_bytes):
        try:
            record = _decode(data)
        except (ValueError, RecursionError):
            try:
                record = _decode_patiently(data)
            except _Bad as error:
                bad.add(error.kind, path, line, str(error))
                continue
        if record.text:
            yield Document(line, f"{path.name}:{line}" if record.id is None else str(record.id), record.text)
        else:
            bad.add("empty_text", path, line, "`text` is empty")


def _decode_patiently(data: bytes) -> _Record:
    """Decode what the fast decoder refused (NaN in the metadata, say), or raise _Bad with the reason."""
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _Bad("invalid_utf8", f"not UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise _Bad("not_json", f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise _Bad("not_json", f"not a JSON object but {type(value).__name__}")
    if "text" not in value:
        raise _Bad("no_text", f"no key `text` among {sorted(value)[:8]}")
    if not isinstance(value["text"], str):
        raise _Bad("text_not_string", f"`text` is {type(value['text']).__name__}, not a string")
    try:
        value["text"].encode()
    except UnicodeEncodeError:
        raise _Bad("invalid_utf8", "`text` holds half a surrogate pair, which UTF-8 cannot write") from None
    return _Record(value["text"], value.get("id"))


def _lines(path: Path, bad: BadRecords, max_line_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The file's lines that are not blank, with their numbers from 1."""
    try:
        if path.stat().st_size == 0:
            raise ArtifactError(
                f"{path} is empty (0 bytes), not even a gzip header; fetch it again or take it off the list"
            )
        with igzip.open(path, "rb") as file:  # type: ignore[no-untyped-call]
            number = 0
            while data := file.readline(max_line_bytes + 1):
                number += 1
                if len(data) > max_line_bytes and not data.endswith(b"\n"):
                    del data
                    length = max_line_bytes + 1 + _skip_line(file)
                    bad.add("line_too_long", path, number, f"{length} bytes, max_line_bytes is {max_line_bytes}")
                elif not data.isspace():
                    yield number, data
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; fetch it again or take it off the list") from None
    except EOFError:
        raise ArtifactError(f"{path} is a truncated gzip file; fetch it again") from None
    except (igzip_lib.IsalError, zlib.error, OSError) as error:  # type: ignore[misc]  # the stub forgets its base class
        raise ArtifactError(f"{path} is not a sound gzip file ({error}); fetch it again") from None


def _skip_line(file: Any) -> int:
    """Read to the end of the line in pieces; the number of bytes skipped."""
    skipped = 0
    while piece := file.readline(SKIP_BYTES):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped
