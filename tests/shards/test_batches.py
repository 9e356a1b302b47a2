import threading

import numpy as np
import pytest

from pipeline.artifact.files import ArtifactError
from pipeline.shards.array import write_array
from pipeline.shards.batches import batches
from pipeline.shards.rows import Rows

TABLE = np.arange(10 * 5, dtype=np.uint16).reshape(10, 5)


@pytest.fixture
def rows(lab, tmp_path):
    """Ten rows in two shards."""
    for shard in range(2):
        write_array(tmp_path / f"{shard:06d}.zarr", TABLE[5 * shard : 5 * shard + 5])
    return Rows([lab.publish(tmp_path, "shards/demo/0000")])


def test_batches_follow_each_other_and_only_full_ones_come(rows):
    found = list(batches(rows, 0, 3))
    assert [first for first, _ in found] == [0, 3, 6]
    np.testing.assert_array_equal(np.concatenate([batch for _, batch in found]), TABLE[:9])


def test_a_later_start_continues_as_if_nothing_had_happened(rows):
    whole, rest = list(batches(rows, 0, 2)), list(batches(rows, 4, 2))
    assert [first for first, _ in rest] == [first for first, _ in whole[2:]]
    for (_, a), (_, b) in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_parts_of_a_batch_are_read_apart_and_together_are_the_batch(rows):
    whole = [batch for _, batch in batches(rows, 2, 4)]
    parts = [[batch for _, batch in batches(rows, 2, 4, part=part, parts=2)] for part in range(2)]
    assert [batch.shape for batch in parts[0]] == [(2, 5), (2, 5)]
    for number, batch in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([part[number] for part in parts]), batch)


def test_what_reading_raises_reaches_the_caller(rows, tmp_path):
    (tmp_path / "000001.zarr/c/0/0").unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        list(batches(rows, 0, 2))


def test_a_reader_that_is_no_longer_wanted_ends(rows):
    before = threading.active_count()
    reader = batches(rows, 0, 1)
    next(reader)
    reader.close()
    assert threading.active_count() == before
