"""Bringing files from elsewhere into a folder, and giving up the originals once that is done."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from pipeline.artifact.files import sync_file


def bring(files: Mapping[str, Path], folder: Path, link: bool = True) -> None:
    """Put files into a folder under the names given, on disk when this returns.

    As hard links where `link` is true and the file system can, which takes no time and no room; else as copies.
    """
    total = sum(path.stat().st_size for path in files.values())
    with tqdm(total=total, desc=f"adopt {folder.name}", unit="B", unit_scale=True, disable=None) as bar:
        for name, path in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _bring(path.resolve(), target, link)
            sync_file(target)
            bar.update(target.stat().st_size)


def give_up(files: Mapping[str, Path], folder: Path) -> None:
    """Delete the originals of files that were brought from `folder`, and the folders that are empty then."""
    for path in files.values():
        path.unlink(missing_ok=True)
    parents = {parent for path in files.values() for parent in path.parents if parent.is_relative_to(folder)}
    for parent in sorted(parents, reverse=True):  # what lies deeper comes first
        with suppress(OSError):  # something else is in it
            parent.rmdir()


def _bring(source: Path, target: Path, link: bool) -> None:
    if link:
        with suppress(OSError):  # another disk, or a file system or a right that has no hard links
            os.link(source, target)
            return
    shutil.copyfile(source, target)
