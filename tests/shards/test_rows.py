import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.artifact.files import ArtifactError
from pipeline.shards import rows as rows_module
from pipeline.shards.array import write_array
from pipeline.shards.rows import Rows

SIZES = [3, 1, 4, 2]
TABLE = np.arange(10 * 5, dtype=np.uint16).reshape(10, 5)


@pytest.fixture
def blocks(lab, tmp_path):
    """Ten rows in four shards in two blocks."""
    ends = np.cumsum(SIZES)
    for shard, (end, size) in enumerate(zip(ends, SIZES, strict=True)):
        write_array(tmp_path / f"{shard // 2:04d}/{shard:06d}.zarr", TABLE[end - size : end])
    return [lab.publish(tmp_path / name, f"shards/demo/{name}") for name in ("0000", "0001")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(start=st.integers(0, 10), count=st.integers(0, 10))
def test_rows_are_read_across_shards_and_blocks(blocks, start, count):
    rows = Rows(blocks[::-1])
    count = min(count, len(rows) - start)
    found = rows.read(start, count)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, TABLE[start : start + count])


@pytest.mark.parametrize(("start", "count"), [(-1, 2), (9, 2), (0, 11), (3, -1)])
def test_rows_that_do_not_exist_are_an_index_error(blocks, start, count):
    with pytest.raises(IndexError):
        Rows(blocks).read(start, count)


def test_few_shards_are_mapped_at_a_time(blocks, monkeypatch):
    monkeypatch.setattr(rows_module, "OPEN_SHARDS", 2)
    rows = Rows(blocks)
    np.testing.assert_array_equal(rows.read(0, 10), TABLE)
    np.testing.assert_array_equal(rows.read(0, 10), TABLE)
    assert len(rows._open) == 2


def test_a_missing_block_is_refused_by_its_first_shard(blocks):
    with pytest.raises(ArtifactError, match="shard 000000 is in none of shards/demo/0001"):
        Rows(blocks[1:])
    with pytest.raises(ArtifactError, match="no shards to read: given are none"):
        Rows([])


def test_a_missing_or_short_chunk_is_refused_by_its_name(blocks):
    chunk = blocks[1].folder / "000002.zarr/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-2])
    with pytest.raises(ArtifactError, match=r"000002\.zarr/c/0/0 has 38 bytes"):
        Rows(blocks).read(5, 1)
    chunk.unlink()
    with pytest.raises(ArtifactError, match=r"000002\.zarr/c/0/0 is missing"):
        Rows(blocks).read(5, 1)


def test_changed_bytes_are_found_even_where_size_and_time_are_the_same(blocks):
    chunk = blocks[1].path("000002.zarr/c/0/0")
    times = (chunk.stat().st_atime_ns, chunk.stat().st_mtime_ns)
    data = bytearray(chunk.read_bytes())
    data[0] ^= 1
    chunk.write_bytes(data)
    os.utime(chunk, ns=times)
    rows = Rows(blocks)
    rows.read(0, 4)
    with pytest.raises(ArtifactError, match=r"000002\.zarr/c/0/0 has other bytes.*; delete it and run the workflow"):
        rows.read(4, 1)


def test_shards_of_another_width_are_refused(lab, blocks):
    folder = blocks[1].folder
    shutil.rmtree(folder / "000003.zarr")
    write_array(folder / "000003.zarr", np.zeros((2, 6), np.uint16))
    changed = lab.publish(folder, "shards/demo/0001")
    with pytest.raises(ArtifactError, match=r"000003\.zarr has the shape \[2, 6\]"):
        Rows([blocks[0], changed])
