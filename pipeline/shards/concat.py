"""Packing by concatenation: a stage is one stream of documents, cut into rows. No token is lost."""

import numpy as np

from pipeline.shards.assignment import Assignment


def stream_span(first_row: int, rows: int, seq_len: int, width: int) -> tuple[int, int]:
    """The stretch of the stream that rows [first_row, first_row + rows) show, as positions [begin, end).

    Rows start every `seq_len` tokens and are `width` long, so the last row looks `width - seq_len` tokens ahead.
    """
    return first_row * seq_len, (first_row + rows - 1) * seq_len + width


def rows_of_stream(stream: np.ndarray, rows: int, seq_len: int, width: int) -> np.ndarray:
    """Cut a stretch of stream into rows: a view of shape [rows, width] in which neighbours overlap.

    Row i holds stream[i * seq_len : i * seq_len + width], so every position is once in a row's first `seq_len` columns.
    """
    assert len(stream) == stream_span(0, rows, seq_len, width)[1]
    return np.lib.stride_tricks.sliding_window_view(stream, width)[::seq_len]


def assign(lengths: np.ndarray, rows: int, rows_per_shard: int, seq_len: int) -> Assignment:
    """Put documents into the stream in their order until it has rows * seq_len tokens; the last one is cut there.

    `lengths` are int64 of shape [documents], end tokens included, with at least that sum.
    """
    total = rows * seq_len
    offset = np.cumsum(lengths) - lengths
    count = int(np.searchsorted(offset, total))
    offset = offset[:count]
    tokens = np.minimum(lengths[:count], total - offset)
    assert tokens.sum() == total
    bounds = np.arange(0, total, rows_per_shard * seq_len)
    shard = offset // (rows_per_shard * seq_len)
    return Assignment(np.arange(count), np.zeros(count, np.int64), tokens, shard, bounds, padding=0)
