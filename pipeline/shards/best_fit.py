"""Packing by best fit: no document is cut that fits a row.

Documents longer than a row are cut into pieces; the pieces are placed in decreasing size, each in the fullest row that
has room (best-fit decreasing; Ding et al. 2024, "Fewer Truncations Improve Language Modeling").
"""

from typing import NamedTuple

import numpy as np

from pipeline.settings.shards import shard_count, shard_rows
from pipeline.shards.assignment import Assignment


class Pieces(NamedTuple):
    """Documents cut to fit rows. All arrays are int64 of shape [pieces]."""

    document: np.ndarray
    """The position of the piece's document among those given."""
    first: np.ndarray
    """The position of its first token within the document."""
    tokens: np.ndarray
    """Its tokens, the document's end token among them. The pieces' tokens add up to the document's."""
    size: np.ndarray
    """The columns that it takes: one more than its tokens if the document goes on, for the target of its last token."""


def cut(lengths: np.ndarray, seq_len: int) -> Pieces:
    """Cut documents into pieces of at most `seq_len` inputs and one last target.

    `lengths` are the documents' tokens with the end token, which is never an input that has to be learnt from: so a
    document of `seq_len` tokens and its end token is one piece.
    """
    counts = np.maximum(1, -(-(lengths - 1) // seq_len))
    document = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = number * seq_len
    goes_on = number < counts[document] - 1
    tokens = np.where(goes_on, seq_len, lengths[document] - first)
    return Pieces(document, first, tokens, tokens + goes_on)


def assign(lengths: np.ndarray, rows: int, rows_per_shard: int, seq_len: int) -> Assignment:
    """Fill a stage's shards with documents in their order; pieces that find no room go to the next shard.

    `lengths` are int64 of shape [documents], end tokens included, with a sum of at least rows * (seq_len + 1).
    What the last shard has no room for is left out.
    """
    capacity = seq_len + 1
    pieces = cut(lengths, seq_len)
    total = np.cumsum(pieces.size)
    waiting, drawn = np.empty(0, np.int64), 0
    chosen: list[np.ndarray] = []
    for shard in range(shard_count(rows, rows_per_shard)):
        count = shard_rows(shard, rows, rows_per_shard)
        used = int(total[drawn - 1]) if drawn else 0
        end = int(np.searchsorted(total, used + count * capacity - int(pieces.size[waiting].sum()))) + 1
        candidates = np.concatenate([waiting, np.arange(drawn, end)])
        drawn = max(drawn, end)
        row, _ = place(pieces.size[candidates], count, capacity)
        chosen.append(candidates[row >= 0])
        waiting = candidates[row < 0]
    placed = np.concatenate(chosen)
    document, first, tokens, size = (column[placed] for column in pieces)
    counts = [len(found) for found in chosen]
    bounds = np.append(0, np.cumsum(tokens))[np.cumsum([0, *counts[:-1]])]
    numbers = np.repeat(np.arange(len(counts)), counts)
    return Assignment(document, first, tokens, numbers, bounds, rows * capacity - int(size.sum()))


def place(sizes: np.ndarray, rows: int, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Place pieces in rows of `capacity` columns: each piece's row and first column, int64 of shape [pieces].

    A piece that found no room has row -1. Those that did would be placed alike without it.
    """
    if len(sizes) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    assert 0 < sizes.min() <= sizes.max() <= capacity
    order = np.argsort(-sizes, kind="stable")
    decreasing = sizes[order]
    begins = np.flatnonzero(np.diff(decreasing, prepend=-1))
    counts = np.diff(begins, append=len(sizes))
    bins = _Bins(rows, capacity)
    for size, count in zip(decreasing[begins].tolist(), counts.tolist(), strict=True):
        bins.take(size, count)
    row, column = np.empty((2, len(sizes)), np.int64)
    row[order], column[order] = bins.row, bins.column
    return row, column


class _Bins:
    """Rows by their free columns; the free capacities that occur are the set bits of one integer.

    Lists rather than arrays: most steps touch a few rows only.
    """

    def __init__(self, rows: int, capacity: int) -> None:
        self.capacity = capacity
        self.rows = {capacity: list(range(rows))}
        self.bits = 1 << capacity if rows else 0
        self.row: list[int] = []
        self.column: list[int] = []

    def take(self, size: int, count: int) -> None:
        """Place `count` pieces of one size, one after the other: their rows and columns, -1 where there is no room."""
        while count and (fitting := self.bits >> size):
            free = size + (fitting & -fitting).bit_length() - 1
            each = free // size  # a row that takes one piece and has room for another is then the fullest
            bins = self._pop(free, -(-count // each))
            taken = min(count, each * len(bins))
            if each == 1:
                self.row += bins
                self.column += [self.capacity - free] * taken
            else:
                self.row += [row for row in bins for _ in range(each)][:taken]
                columns = range(self.capacity - free, self.capacity - free + each * size, size)
                self.column += ([*columns] * len(bins))[:taken]
            full = taken // each
            self._push(free - each * size, bins[:full])
            self._push(free - (taken % each) * size, bins[full:])
            count -= taken
        self.row += [-1] * count
        self.column += [-1] * count

    def _pop(self, free: int, count: int) -> list[int]:
        bins = self.rows[free]
        if len(bins) <= count:
            self.bits ^= 1 << free
            return self.rows.pop(free)
        taken = bins[-count:]
        del bins[-count:]
        return taken

    def _push(self, free: int, bins: list[int]) -> None:
        if bins:
            self.rows.setdefault(free, []).extend(bins)
            self.bits |= 1 << free
