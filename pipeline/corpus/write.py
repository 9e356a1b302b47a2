"""Writing Dolma-format files, so that equal documents give equal bytes."""

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

MADE = "2024-01-01T00:00:00.000Z"
"""A fixed time for `added` and `created`: the bytes must not depend on the clock."""
COMPRESSION = 6


class Text(NamedTuple):
    """A text and where it comes from."""

    text: str
    package: str
    """The distribution that it is installed with."""
    version: str
    path: str
    """Its place in the package."""


def write_documents(path: Path, source: str, texts: Iterable[Text]) -> None:
    """Write texts as Dolma writes documents: one JSON object a line, gzip-compressed."""
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as raw, gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as file:
        for text in texts:
            file.write(encode(_record(source, text)) + b"\n")


def _record(source: str, text: Text) -> dict[str, object]:
    return {
        "id": f"{source}/{text.package}/{text.path}",
        "text": text.text,
        "source": source,
        "added": MADE,
        "created": MADE,
        "metadata": {"package": text.package, "version": text.version, "path": text.path},
    }
