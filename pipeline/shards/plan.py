"""The plan of a stage: which tokens go where, in a Parquet file in training order."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifact.files import ArtifactError

PLAN = "plan.parquet"
TABLE = "mixture.parquet"
"""What was asked of each domain, and what it delivers."""
HISTOGRAMS = "histogram.zarr"
"""How often each id occurs in each domain's training text."""
SCHEMA = pa.schema(
    [
        ("domain", pa.dictionary(pa.int32(), pa.string())),
        ("block", pa.dictionary(pa.int32(), pa.string())),
        ("first_document", pa.int64()),
        ("documents", pa.int64()),
        ("first_token", pa.int64()),
        ("tokens", pa.int64()),
        ("epoch", pa.int32()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
    ]
)
"""One entry: the document number `first_document` of a block, followed by an end token, gives `tokens` tokens from its
`first_token` on; `documents` is 1. `offset` is their position in the stage's stream of tokens, `shard` the shard where
they begin. Entries stand in the order of their offsets."""


def write_plan(path: Path, entries: pa.Table) -> None:
    """Write a plan, one row group a shard at least, so that a shard's entries are read without the rest."""
    shards = entries.column("shard").to_numpy()
    begins = np.flatnonzero(np.diff(shards, prepend=-1))
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for begin, end in zip(begins, [*begins[1:], len(shards)], strict=True):
            writer.write_table(entries.slice(begin, end - begin))


def entries_of_shard(path: Path, shard: int) -> pa.Table:
    """The entries that begin in a shard."""
    with pq.ParquetFile(path) as file:
        groups = [number for number, (low, high) in enumerate(_ranges(file, "shard")) if low <= shard <= high]
        entries = file.read_row_groups(groups)
    return entries.filter(pa.array(entries.column("shard").to_numpy() == shard))


def entries_of_span(path: Path, begin: int, end: int) -> pa.Table:
    """The entries with tokens in the stretch [begin, end) of the stage's stream."""
    with pq.ParquetFile(path) as file:
        lows = [low for low, _ in _ranges(file, "offset")]
        ends = [*lows[1:], end + 1]
        groups = [number for number, low in enumerate(lows) if low < end and ends[number] > begin]
        entries = file.read_row_groups(groups)
    offset, tokens = (entries.column(name).to_numpy() for name in ("offset", "tokens"))
    return entries.filter(pa.array((offset < end) & (offset + tokens > begin)))


def _ranges(file: pq.ParquetFile, column: str) -> Iterator[tuple[int, int]]:
    """The smallest and the largest value of a column in each row group."""
    number = file.schema_arrow.get_field_index(column)
    for group in range(file.metadata.num_row_groups):
        statistics = file.metadata.row_group(group).column(number).statistics
        if statistics is None or not statistics.has_min_max:
            raise ArtifactError(f"the plan's column {column} has no statistics; run the mixture step again")
        yield statistics.min, statistics.max
