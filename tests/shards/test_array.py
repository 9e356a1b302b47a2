import json

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.artifact.files import ArtifactError
from pipeline.shards.array import ArrayWriter, open_array, read_attributes, write_array, write_group

VALUES = st.sampled_from(["uint16", "uint32", "int32", "int64", "float64"]).flatmap(
    lambda dtype: arrays.arrays(
        dtype,
        arrays.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=7),
        elements={"allow_nan": False} if dtype == "float64" else None,
    )
)


@given(values=VALUES, cut=st.integers(0, 7))
def test_zarr_reads_what_the_memory_map_reads(tmp_path_factory, values, cut):
    folder = tmp_path_factory.mktemp("array") / "a.zarr"
    with ArrayWriter(folder, values.dtype, values.shape[1:]) as writer:
        writer.append(values[:cut])
        writer.append(values[cut:])
    mapped = open_array(folder)
    assert mapped.dtype == values.dtype
    np.testing.assert_array_equal(mapped, values)
    read = zarr.open(str(folder), mode="r")
    assert read.shape == values.shape
    np.testing.assert_array_equal(read[...], values)


def test_zeros_are_stored_and_not_left_out(tmp_path):
    write_array(tmp_path / "a.zarr", np.zeros((3, 4), np.uint16))
    assert (tmp_path / "a.zarr/c/0/0").read_bytes() == bytes(24)


def test_an_array_without_rows_has_no_chunk_and_is_read(tmp_path):
    write_array(tmp_path / "a.zarr", np.empty((0, 5), np.uint32))
    assert not (tmp_path / "a.zarr/c/0/0").exists()
    assert open_array(tmp_path / "a.zarr").shape == (0, 5)


def test_zarr_reads_groups_of_arrays(tmp_path):
    write_array(tmp_path / "g.zarr/train/tokens", np.arange(5, dtype=np.uint16))
    write_group(tmp_path / "g.zarr/train")
    write_group(tmp_path / "g.zarr", {"vocabulary": 7})
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="r")
    assert group.attrs["vocabulary"] == 7
    assert group["train/tokens"][:].tolist() == [0, 1, 2, 3, 4]
    assert read_attributes(tmp_path / "g.zarr") == {"vocabulary": 7}
    with pytest.raises(ArtifactError, match="not a Zarr v3 group"):
        read_attributes(tmp_path / "g.zarr/train/tokens")


def test_a_missing_chunk_is_an_error_that_names_the_file(tmp_path):
    write_array(tmp_path / "a.zarr", np.arange(6, dtype=np.int64))
    (tmp_path / "a.zarr/c/0").unlink()
    assert zarr.open(str(tmp_path / "a.zarr"), mode="r")[:].tolist() == [0] * 6  # the trap
    with pytest.raises(ArtifactError, match=r"a\.zarr/c/0 is missing"):
        open_array(tmp_path / "a.zarr")


@pytest.mark.parametrize("change", [b"", b"1234567", b"12345678" * 7])
def test_a_short_or_long_chunk_is_an_error_that_names_the_file(tmp_path, change):
    write_array(tmp_path / "a.zarr", np.arange(6, dtype=np.int64))
    (tmp_path / "a.zarr/c/0").write_bytes(change)
    with pytest.raises(ArtifactError, match=rf"a\.zarr/c/0 has {len(change)} bytes, .* says 48"):
        open_array(tmp_path / "a.zarr")


def test_a_chunk_where_there_should_be_none_is_refused(tmp_path):
    write_array(tmp_path / "a.zarr", np.empty(0, np.int64))
    (tmp_path / "a.zarr/c/0").write_bytes(bytes(8))
    with pytest.raises(ArtifactError, match="has 8 bytes"):
        open_array(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("codecs", [{"name": "bytes", "configuration": {"endian": "big"}}]),
        ("codecs", [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {}}]),
        ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [3]}}),
        ("data_type", "complex64"),
        ("shape", [-6]),
        ("zarr_format", 2),
        ("node_type", "group"),
    ],
)
def test_metadata_of_another_layout_are_refused(tmp_path, key, value):
    write_array(tmp_path / "a.zarr", np.arange(6, dtype=np.int64))
    path = tmp_path / "a.zarr/zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ArtifactError, match=r"zarr\.json"):
        open_array(tmp_path / "a.zarr")


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_broken_metadata_are_refused(tmp_path, text):
    write_array(tmp_path / "a.zarr", np.arange(6, dtype=np.int64))
    (tmp_path / "a.zarr/zarr.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"zarr\.json"):
        open_array(tmp_path / "a.zarr")


def test_an_interrupted_writer_leaves_no_array(tmp_path):
    write_array(tmp_path / "a.zarr", np.arange(6, dtype=np.int64))

    def interrupted():
        with ArrayWriter(tmp_path / "a.zarr", "int64") as writer:
            writer.append(np.arange(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ArtifactError, match="is missing"):
        open_array(tmp_path / "a.zarr")
