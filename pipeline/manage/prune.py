"""Deleting what nothing refers to: exactly what was listed, each under its artifact's lock."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import MANIFEST, RECORD
from pipeline.artifact.publish import WORKING
from pipeline.manage.holder import Holder, lease_holder
from pipeline.manage.leftovers import Found, Leftover
from pipeline.manage.tree import measure


@dataclass(frozen=True)
class Fate:
    """What became of a leftover."""

    leftover: Leftover
    kept_for: str = ""
    """Why it was not deleted; empty where it was."""


def delete(results: Path, leftovers: Sequence[Leftover], runs_too: bool) -> Iterator[Fate]:
    """Delete leftovers. What took hours of training stays without `runs_too`; what has changed or is held stays too."""
    total = sum(one.size.bytes for one in leftovers)
    with tqdm(total=total, desc="prune", unit="B", unit_scale=True, disable=None) as bar:
        for one in leftovers:
            kept_for = "it took over an hour of training: add --runs-too" if one.is_expensive and not runs_too else ""
            yield Fate(one, kept_for or _delete(results, one))
            bar.update(one.size.bytes)


def as_data(found: Found, fates: Sequence[Fate]) -> dict[str, Any]:
    """What was found, and what became of it, for programs."""
    return {
        "leftovers": [
            {**asdict(one), "path": str(one.path), "is_expensive": one.is_expensive} for one in found.leftovers
        ],
        "bytes": found.bytes,
        "notes": found.notes,
        "deleted": [str(fate.leftover.path) for fate in fates if not fate.kept_for],
        "kept": {str(fate.leftover.path): fate.kept_for for fate in fates if fate.kept_for},
    }


def _delete(results: Path, leftover: Leftover) -> str:
    """Delete one, or say why not."""
    try:
        with exclusive(results, leftover.artifact, wait=False):
            if trainer := _trainer(results, leftover.path):
                return f"{trainer} is at work on it"
            if not os.path.lexists(leftover.path):
                return "it is gone already"
            if leftover.path.is_symlink() or measure(leftover.path) != leftover.size:
                return "it changed since it was listed"
            _remove(leftover.path)
    except BlockingIOError:
        return f"a process is at work on {leftover.artifact}"
    return ""


def _trainer(results: Path, path: Path) -> Holder | None:
    """Who trains the run that a path is of, where the lock does not tell: not all file systems share locks."""
    for folder in (path, *path.parents):
        if folder == results:
            break
        lease = lease_holder(folder / WORKING)
        if lease is not None and lease.alive:
            return lease
    return None


def _remove(path: Path) -> None:
    """Remove a file, or a folder with its record last: what a kill leaves is found again, and never taken for whole."""
    if not path.is_dir():
        path.unlink()
        return
    (path / MANIFEST).unlink(missing_ok=True)
    for child in path.iterdir():
        if child.name == RECORD:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    (path / RECORD).unlink(missing_ok=True)
    path.rmdir()
