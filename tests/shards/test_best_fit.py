import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards.best_fit import assign, cut, place

SIZES = st.lists(st.integers(1, 17), max_size=120).map(lambda values: np.array(values, np.int64))


def place_one_by_one(sizes, rows, capacity):
    """Best-fit decreasing as the textbook has it: only how full rows get, which ties cannot change."""
    free = [capacity] * rows
    for size in sorted(sizes.tolist(), reverse=True):
        fitting = [space for space in free if space >= size]
        if fitting:
            free[free.index(min(fitting))] -= size
    return sorted(free)


@given(sizes=SIZES, rows=st.integers(1, 30))
def test_placing_in_groups_equals_placing_one_by_one(sizes, rows):
    row, _ = place(sizes, rows, 17)
    used = np.bincount(row[row >= 0], weights=sizes[row >= 0], minlength=rows)
    assert sorted((17 - used).tolist()) == place_one_by_one(sizes, rows, 17)


@given(sizes=SIZES, rows=st.integers(1, 30))
def test_pieces_do_not_overlap_and_only_what_fits_nowhere_is_left(sizes, rows):
    row, column = place(sizes, rows, 17)
    taken = np.zeros((rows, 17), int)
    for size, r, c in zip(sizes, row, column, strict=True):
        if r >= 0:
            assert c + size <= 17
            taken[r, c : c + size] += 1
    assert taken.max(initial=0) <= 1
    left = sizes[row < 0]
    assert len(left) == 0 or (17 - taken.sum(axis=1)).max() < left.min()


@given(sizes=SIZES, rows=st.integers(1, 30))
def test_what_found_no_room_does_not_change_where_the_rest_goes(sizes, rows):
    row, column = place(sizes, rows, 17)
    again = place(sizes[row >= 0], rows, 17)
    np.testing.assert_array_equal(again[0], row[row >= 0])
    np.testing.assert_array_equal(again[1], column[row >= 0])


@given(
    lengths=st.lists(st.integers(1, 100), max_size=20).map(lambda v: np.array(v, np.int64)), seq_len=st.integers(1, 20)
)
def test_pieces_make_up_their_documents_and_none_is_cut_that_fits(lengths, seq_len):
    pieces = cut(lengths, seq_len)
    assert pieces.size.max(initial=0) <= seq_len + 1
    for number, length in enumerate(lengths):
        ours = pieces.document == number
        assert pieces.tokens[ours].sum() == length
        assert ours.sum() == 1 or length > seq_len + 1
        ends = pieces.first[ours] + pieces.tokens[ours]
        assert pieces.first[ours].tolist() == [0, *ends[:-1]]
        assert (pieces.size[ours] == pieces.tokens[ours] + (ends < length)).all()


@settings(max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=200),
    rows=st.integers(1, 40),
    rows_per_shard=st.integers(1, 12),
)
def test_shards_are_filled_one_after_the_other_without_loss(lengths, rows, rows_per_shard):
    seq_len = 15
    repeats = -(-rows * (seq_len + 1) // sum(lengths))
    documents = np.array(lengths * repeats, np.int64)
    found = assign(documents, rows, rows_per_shard, seq_len)
    assert (np.diff(found.shard) >= 0).all()
    assert set(found.shard.tolist()) == set(range(-(-rows // rows_per_shard)))
    keys = list(zip(found.document.tolist(), found.first.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    goes_on = found.first + found.tokens < documents[found.document]
    for shard in range(-(-rows // rows_per_shard)):
        ours = found.shard == shard
        count = min(rows_per_shard, rows - shard * rows_per_shard)
        row, _ = place((found.tokens + goes_on)[ours], count, seq_len + 1)
        assert (row >= 0).all()
        assert set(row.tolist()) == set(range(count))  # no row is empty
    assert found.padding == rows * (seq_len + 1) - int((found.tokens + goes_on).sum())


def test_padding_of_documents_of_mixed_sizes_is_a_fraction_of_a_percent():
    lengths = np.random.default_rng(0).lognormal(5.5, 1.2, 20_000).astype(np.int64) + 2
    rows = int(lengths.sum() * 0.9) // 513
    assert assign(lengths, rows, 2000, 512).padding < 0.002 * rows * 513
