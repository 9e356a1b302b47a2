import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.base import SettingsError
from pipeline.settings.data import DataSettings, mixture_step, pack_step, stage_blocks, validation_step
from pipeline.settings.shards import shard_blocks, shard_rows

DATA = DataSettings.parse({"seq_len": 256, "shard_tokens": 1000, "shards_per_block": 2})


@given(rows=st.integers(1, 10_000), per_shard=st.integers(1, 300), per_block=st.integers(1, 20))
def test_the_blocks_hold_every_shard_once_and_the_shards_every_row(rows, per_shard, per_block):
    blocks = shard_blocks(rows, per_shard, per_block)
    shards = [shard for block in blocks for shard in range(block.first_shard, block.first_shard + block.shards)]
    assert shards == list(range(len(shards)))
    counts = [shard_rows(shard, rows, per_shard) for shard in shards]
    assert sum(counts) == rows
    assert all(0 < count <= per_shard for count in counts)
    assert [block.block for block in blocks] == [f"{number:04d}" for number in range(len(blocks))]


def test_the_steps_of_a_stage_follow_from_its_data():
    blocks = stage_blocks(DATA, rows=10)
    assert [(block.first_shard, block.shards) for block in blocks] == [(0, 2), (2, 2)]
    mixture = mixture_step(DATA, {"wiki": 0.25, "web": 0.75}, rows=10)
    assert (mixture.rows, mixture.rows_per_shard, mixture.seq_len) == (10, 3, 256)
    pack = pack_step(DATA, 10, 1, blocks[1])
    assert (pack.first_shard, pack.shards, pack.rows_per_shard, pack.mtp_depth) == (2, 2, 3, 1)
    assert validation_step(DATA, ["wiki", "web"], 1).domains == ("web", "wiki")


def test_a_row_longer_than_a_shard_makes_shards_of_one_row():
    assert DataSettings.parse({"seq_len": 4096, "shard_tokens": 1000}).rows_per_shard == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"seq_len": 0}, "seq_len"),
        ({"seq_len": 8, "packing": "best"}, "packing"),
        ({"seq_len": 8, "max_epochs": 0}, "max_epochs"),
        ({"seq_len": 8, "sources": [{"name": "a", "weight": -1}]}, "weight"),
        ({"seq_len": 8, "sources": [{"name": "a", "weight": 0}]}, "every weight is 0"),
        ({"seq_len": 8, "sources": [{"name": "a", "weight": 1}, {"name": "a", "weight": 2}]}, "'a' is there 2 times"),
        ({"seq_len": 8, "sources": [{"name": "a", "weight": 1, "subsets": "b"}]}, "subsets"),
    ],
)
def test_wrong_data_settings_are_refused_by_the_key(data, message):
    with pytest.raises(SettingsError, match=message):
        DataSettings.parse(data, where="data")
