"""Collecting a plan's documents from memory-mapped blocks of tokens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from pipeline.artifact.artifact import Artifact
from pipeline.shards.tokens import Split, TokenBlock, open_block


class Runs:
    """Entries of a plan as arrays of shape [entries], beside the blocks that they point into."""

    def __init__(self, entries: pa.Table, library: "Library") -> None:
        """Look entries up in the library's blocks."""
        assert bool((entries.column("documents").to_numpy() == 1).all())
        names = entries.column("block").unify_dictionaries().combine_chunks()
        self.blocks = [library.block(name) for name in names.dictionary.to_pylist()]
        self.code = names.indices.to_numpy()
        self.document = entries.column("first_document").to_numpy()
        self.first = entries.column("first_token").to_numpy()
        self.tokens = entries.column("tokens").to_numpy()
        self.offset = entries.column("offset").to_numpy()

    @cached_property
    def left(self) -> np.ndarray:
        """The tokens of each entry's document from the entry's first on, the end token included."""
        left = np.empty(len(self.code), np.int64)
        for block, ours in self._by_block():
            document = self.document[ours]
            left[ours] = block.offsets[document + 1] - block.offsets[document] + 1 - self.first[ours]
        assert bool((left >= self.tokens).all())
        return left

    def copy(self, out: np.ndarray, skip: np.ndarray, count: np.ndarray, place: np.ndarray, end: int) -> None:
        """Copy of each entry the tokens [skip, skip + count) to out[place:]; a document's last token is `end`.

        `count` may go beyond the entry up to the end of its document. Block by block in the order of documents, so
        that the disk is read forwards.
        """
        assert bool((skip + count <= self.left).all())
        for block, ours in self._by_block():
            begin = block.offsets[self.document[ours]] + self.first[ours] + skip[ours]
            ends = skip[ours] + count[ours] == self.left[ours]
            text = count[ours] - ends
            tokens = block.tokens.view(np.ndarray)
            for to, source, length in zip(place[ours].tolist(), begin.tolist(), text.tolist(), strict=True):
                out[to : to + length] = tokens[source : source + length]
            out[(place[ours] + text)[ends]] = end

    def _by_block(self) -> Iterator[tuple[TokenBlock, np.ndarray]]:
        order = np.lexsort((self.document, self.code))
        bounds = np.searchsorted(self.code[order], np.arange(len(self.blocks) + 1))
        for number, block in enumerate(self.blocks):
            if bounds[number] < bounds[number + 1]:
                yield block, order[bounds[number] : bounds[number + 1]]


@dataclass(frozen=True)
class Library:
    """The blocks of tokens that a plan may point into, opened when they are first needed."""

    artifacts: Mapping[str, Artifact]
    split: Split = "train"

    def block(self, name: str) -> TokenBlock:
        """One block by its artifact's name."""
        return open_block(self.artifacts[name], self.split)
