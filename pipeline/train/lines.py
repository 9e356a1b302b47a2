"""An append-only table in a file, one JSON object a line: whoever follows the file sees a row at once."""

import json
import os
from pathlib import Path
from typing import Any

from pipeline.artifact.files import sync_file, write_atomic


class JsonLines:
    """Rows with a `step` each. A process may be killed at any moment: a half-written line is no row."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, row: dict[str, Any]) -> None:
        """Write one row, on a line of its own even after a half-written one."""
        line = json.dumps(row, allow_nan=False) + "\n"
        with self._path.open("ab+") as file:
            if file.tell() and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                line = "\n" + line
            file.write(line.encode())

    def rows(self) -> list[dict[str, Any]]:
        """All rows; lines that are none (cut off by a kill, or lost by the disk) are left out."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [row for line in lines if (row := _row(line)) is not None]

    def rewind(self, step: int) -> None:
        """Drop the rows after `step`: training goes on from there and will write them again.

        A kill leaves the old file or the new one.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = [json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step]
        write_atomic(self._path, "".join(kept))

    def sync(self) -> None:
        """Force the rows to disk."""
        if self._path.exists():
            sync_file(self._path)


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "step" in row else None
