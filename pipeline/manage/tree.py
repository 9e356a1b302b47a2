"""How much lies below a path. Links are counted as themselves, never followed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measure:
    """A file or a folder with all that is in it, as it was when it was measured."""

    bytes: int
    modified: float
    """When its newest file changed, in seconds since 1970."""


def measure(path: Path) -> Measure:
    """Measure a path. What vanishes meanwhile does not count."""
    size, modified = 0, 0.0
    for one in (path, *below(path)):
        try:
            found = one.lstat()
        except FileNotFoundError:
            continue
        is_file = one.is_symlink() or not one.is_dir()
        size += found.st_size if is_file else 0
        modified = max(modified, found.st_mtime)
    return Measure(size, modified)


def below(folder: Path) -> Iterator[Path]:
    """Everything below a folder, folders before what is in them; nothing for a file or a link."""
    if folder.is_symlink():
        return
    for parent, folders, files in os.walk(folder):  # follows no links
        yield from (Path(parent, name) for name in sorted((*folders, *files)))
