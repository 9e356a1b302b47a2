"""What lies in a results folder: artifacts, and the folders beside them. Found by their form, whatever made them."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.artifact.manifest import RECORD

NO_ARTIFACTS = ("logs", "benchmarks", ".locks")
"""Folders of the results folder that hold none."""
DEPTH = 3
"""The deepest artifacts' names have three parts, such as `raw/wiki/0000`."""
BESIDE = re.compile(r"(?P<name>[^.]+)\.(?P<kind>aside|building)-(?:[0-9a-f]{12}|unrecorded|adopted)(?:-\d+)?")


Kind = Literal["artifact", "aside", "building", "link"]


@dataclass(frozen=True)
class Place:
    """A folder that holds an artifact, what one was before, or what is to become one; or a link."""

    path: Path
    name: str
    """Of the artifact."""
    kind: Kind


def places(results: Path, names: Collection[str]) -> Iterator[Place]:
    """All places in a results folder, in the order of their paths; `names` are artifacts that may lack a record.

    Links are named but not followed: what they lead to is somebody else's to look after.
    """
    yield from _places(results, "", frozenset(names), DEPTH)


def _places(folder: Path, prefix: str, names: frozenset[str], depth: int) -> Iterator[Place]:
    if not depth or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or (not prefix and path.name in NO_ARTIFACTS):
            continue
        if path.is_symlink():
            yield Place(path, prefix + path.name, "link")
        elif beside := BESIDE.fullmatch(path.name):
            yield Place(path, prefix + beside["name"], "aside" if beside["kind"] == "aside" else "building")
        elif (path / RECORD).is_file() or prefix + path.name in names:
            yield Place(path, prefix + path.name, "artifact")
        else:
            yield from _places(path, f"{prefix}{path.name}/", names, depth - 1)
