"""Dolma-format files of a few lines, sound and broken."""

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str, Iterable[Any]], Path]


@pytest.fixture
def dolma(tmp_path: Path) -> Write:
    """Writes a .json.gz file of the given lines: bytes as they are, anything else as JSON."""

    def write(name: str, lines: Iterable[Any]) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
        path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in encoded), 1, mtime=0))
        return path

    return write
