"""The end of a table of JSON lines: a long run's are too large to be read again every few seconds."""

import json
import os
from pathlib import Path
from typing import Any

MOST_BYTES = 256 << 10
"""About a thousand steps."""


def last_rows(path: Path, most_bytes: int = MOST_BYTES) -> list[dict[str, Any]]:
    """The rows in the last bytes of a file, oldest first; none where it is not there.

    Lines that are cut off, by this limit or by a kill, are left out.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most_bytes))
            lines = file.read().splitlines()
    except OSError:
        return []
    return [row for line in lines if (row := _row(line)) is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
