"""The loader: a stage's training rows by their number, whatever shards and blocks they lie in."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError, sha256_of
from pipeline.shards.array import METADATA, open_member, read_shape

OPEN_SHARDS = 16
"""Shards that stay mapped at a time: a stage may have more shards than a process may have maps."""


class Rows:
    """The rows of a stage: sample `i` is row `i` of its shards, one after the other.

    So the order of training is a function of the sample's number alone, and resuming is a counter.
    """

    def __init__(self, blocks: Sequence[Artifact]) -> None:
        """Take the stage's blocks of shards, in any order. A shard's SHA-256 is checked when it is first read.

        Raises ArtifactError if a shard is missing, or if shards do not fit each other.
        """
        self._verified: set[int] = set()
        self._open: OrderedDict[int, np.ndarray] = OrderedDict()
        self._shards = _shards(blocks)
        shapes = [read_shape(artifact.path(f"{name}/{METADATA}").parent) for artifact, name in self._shards]
        self.width, self.dtype = shapes[0][0][-1], shapes[0][1]
        """Tokens in a row, and their type on disk."""
        for (artifact, name), (shape, dtype) in zip(self._shards, shapes, strict=True):
            if len(shape) != 2 or shape[1] != self.width or dtype != self.dtype:
                raise ArtifactError(
                    f"{artifact.name}/{name} has the shape {list(shape)} of {dtype.name}, the stage's first shard rows "
                    f"of {self.width} {self.dtype.name}; run the pack step again"
                )
        self._begins = np.cumsum([0, *(shape[0] for shape, _ in shapes)])

    def __len__(self) -> int:
        """The number of rows."""
        return int(self._begins[-1])

    def read(self, start: int, count: int) -> np.ndarray:
        """Rows [start, start + count): int64 of shape [count, width].

        Raises IndexError beyond the last row, ArtifactError if a shard is damaged.
        """
        if start < 0 or count < 0 or start + count > len(self):
            raise IndexError(f"rows [{start}, {start + count}) of {len(self)}")
        out = np.empty((count, self.width), np.int64)
        done = 0
        while done < count:
            shard = int(np.searchsorted(self._begins, start + done, side="right")) - 1
            first = start + done - int(self._begins[shard])
            taken = min(count - done, int(self._begins[shard + 1]) - start - done)
            out[done : done + taken] = self._map(shard)[first : first + taken]
            done += taken
        return out

    def _map(self, shard: int) -> np.ndarray:
        if shard not in self._open:
            artifact, name = self._shards[shard]
            if shard not in self._verified:
                _check_content(artifact, name)
                self._verified.add(shard)
            self._open[shard] = open_member(artifact, name)
        self._open.move_to_end(shard)
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return self._open[shard]


def open_validation(artifact: Artifact, domain: str) -> np.ndarray:
    """A domain's validation rows, mapped into memory: shape [rows, width]; there may be none."""
    return open_member(artifact, f"{domain}.zarr")


def _shards(blocks: Sequence[Artifact]) -> list[tuple[Artifact, str]]:
    """Every shard with its artifact, in order. Their numbers must run from 0 without a gap."""
    found = {
        int(Path(path).parent.stem): (artifact, str(Path(path).parent))
        for artifact in blocks
        for path in artifact.paths(suffix=f".zarr/{METADATA}")
    }
    names = ", ".join(sorted(artifact.name for artifact in blocks)) or "none"
    if not found:
        raise ArtifactError(f"there are no shards to read: given are {names}")
    missing = sorted(set(range(max(found) + 1)) - found.keys())
    if missing:
        raise ArtifactError(f"shard {missing[0]:06d} is in none of {names}; give every block of the stage's shards")
    return [found[number] for number in sorted(found)]


def _check_content(artifact: Artifact, name: str) -> None:
    for entry in artifact.manifest.files:
        if entry.path.startswith(f"{name}/") and sha256_of(artifact.path(entry.path)) != entry.sha256:
            raise ArtifactError(
                f"{artifact.name}/{entry.path} has other bytes than its manifest says; "
                "delete it and run the workflow again"
            )
