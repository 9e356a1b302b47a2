import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.concat import assign, rows_of_stream, stream_span


@given(rows=st.integers(1, 9), seq_len=st.integers(1, 9), ahead=st.integers(1, 4))
def test_every_position_is_read_once_and_every_row_looks_ahead(rows, seq_len, ahead):
    begin, end = stream_span(0, rows, seq_len, seq_len + ahead)
    table = rows_of_stream(np.arange(begin, end), rows, seq_len, seq_len + ahead)
    assert table.shape == (rows, seq_len + ahead)
    assert table[:, :seq_len].reshape(-1).tolist() == list(range(rows * seq_len))
    assert (np.diff(table, axis=1) == 1).all()


@given(first=st.integers(0, 20), rows=st.integers(1, 9), later=st.integers(1, 9), seq_len=st.integers(1, 9))
def test_rows_do_not_depend_on_how_they_are_cut_into_shards(first, rows, later, seq_len):
    stream = np.arange(1000)
    width = seq_len + 2
    parts = []
    for start, count in ((first, rows), (first + rows, later)):
        begin, end = stream_span(start, count, seq_len, width)
        parts.append(rows_of_stream(stream[begin:end], count, seq_len, width))
    begin, end = stream_span(first, rows + later, seq_len, width)
    np.testing.assert_array_equal(
        np.concatenate(parts), rows_of_stream(stream[begin:end], rows + later, seq_len, width)
    )


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=50), rows=st.integers(1, 20), per_shard=st.integers(1, 7)
)
def test_the_stream_has_exactly_the_tokens_of_its_rows(lengths, rows, per_shard):
    documents = np.array(lengths * -(-rows * 8 // sum(lengths)), np.int64)
    found = assign(documents, rows, per_shard, 8)
    assert found.document.tolist() == list(range(len(found.document)))
    assert found.tokens.sum() == rows * 8
    assert (found.tokens[:-1] == documents[: len(found.tokens) - 1]).all()
    assert 0 < found.tokens[-1] <= documents[len(found.tokens) - 1]
    offset = np.cumsum(found.tokens) - found.tokens
    assert (found.shard == offset // (8 * per_shard)).all()
