"""Arrays on disk that are both Zarr v3 arrays and raw memory maps.

An array has one uncompressed little-endian chunk, so its chunk file is the array itself. It is written by appending,
its metadata (`zarr.json`) last. Zarr reads a missing chunk as zeros; `open_array` refuses it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError, sync_folder, write_atomic

METADATA = "zarr.json"
TYPES = ("uint16", "uint32", "int32", "int64", "float64")
CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}]


class ArrayWriter:
    """Writes one array, piece by piece along its first axis. Used in a `with`; an error leaves no metadata."""

    def __init__(self, folder: Path, dtype: str | np.dtype, row_shape: tuple[int, ...] = ()) -> None:
        """Begin the array `folder`; what was there is removed."""
        self.folder = folder
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.row_shape = row_shape
        self.length = 0
        assert self.dtype.name in TYPES
        self._chunk = folder / _chunk_name(1 + len(row_shape))
        self._chunk.parent.mkdir(parents=True, exist_ok=True)
        (folder / METADATA).unlink(missing_ok=True)
        self._chunk.unlink(missing_ok=True)  # a new file, in case the old one is linked from elsewhere
        self._file = self._chunk.open("xb")

    def append(self, values: np.ndarray) -> None:
        """Add values of shape [count, *row_shape]."""
        assert values.shape[1:] == self.row_shape, (values.shape, self.row_shape)
        self._file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.length += len(values)

    def append_file(self, path: Path) -> None:
        """Add the values of a raw file of the same type and byte order."""
        row_bytes = self.dtype.itemsize * int(np.prod(self.row_shape, dtype=np.int64))
        rows, rest = divmod(path.stat().st_size, row_bytes)
        assert rest == 0, f"{path} holds no whole number of rows"
        with path.open("rb") as source:
            while piece := source.read(1 << 22):
                self._file.write(piece)
        self.length += rows

    def __enter__(self) -> Self:
        """Nothing to open: the file is there since the writer was made."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Force the data to disk, then write the metadata; after an error only close."""
        if kind is not None:
            self._file.close()
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._chunk.stat().st_size == 0:
            self._chunk.unlink()  # an empty file cannot be mapped, and Zarr knows no empty chunk
        else:
            sync_folder(self._chunk.parent)
        shape = (self.length, *self.row_shape)
        write_atomic(self.folder / METADATA, json.dumps(_array_metadata(shape, self.dtype), indent=1) + "\n")


def write_array(folder: Path, values: np.ndarray) -> None:
    """Write a whole array at once."""
    with ArrayWriter(folder, values.dtype, values.shape[1:]) as writer:
        writer.append(values)


def write_group(folder: Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Write the metadata that make a folder of arrays or groups a Zarr group."""
    metadata = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
    write_atomic(folder / METADATA, json.dumps(metadata, indent=1) + "\n")


def read_attributes(folder: Path) -> dict[str, Any]:
    """The attributes of a group. Raises ArtifactError if there is no group."""
    metadata = _read_metadata(folder)
    if metadata.get("node_type") != "group":
        raise ArtifactError(f"{folder} is not a Zarr v3 group; delete it and run its step again")
    return dict(metadata.get("attributes", {}))


def open_array(folder: Path) -> np.ndarray:
    """Map an array into memory, for reading only.

    Raises ArtifactError that names the file if the metadata are not those of a raw array, or if its chunk file is
    missing, short or long.
    """
    shape, dtype = read_shape(folder)
    chunk = folder / _chunk_name(len(shape))
    size = chunk.stat().st_size if chunk.is_file() else None
    wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if wanted == 0 and size is None:
        return np.empty(shape, dtype)
    if size is None:
        raise ArtifactError(f"{chunk} is missing; run the workflow again to make it again")
    if size != wanted:
        raise ArtifactError(f"{chunk} has {size} bytes, {folder / METADATA} says {wanted}; run the workflow again")
    return np.memmap(chunk, dtype=dtype, mode="r", shape=shape)


def open_member(artifact: Artifact, relative: str) -> np.ndarray:
    """Map an array of an artifact, checked against its manifest too."""
    metadata = artifact.path(f"{relative}/{METADATA}")
    for path in artifact.paths(prefix=f"{relative}/c/"):
        artifact.path(path)
    return open_array(metadata.parent)


def read_shape(folder: Path) -> tuple[tuple[int, ...], np.dtype]:
    """An array's shape and type, from its metadata alone.

    Raises ArtifactError if they are not the metadata of an array in one raw little-endian chunk.
    """
    metadata = _read_metadata(folder)
    shape, name = metadata.get("shape"), metadata.get("data_type")
    sound = isinstance(shape, list) and shape and all(isinstance(size, int) and size >= 0 for size in shape)
    if not isinstance(shape, list) or not sound or name not in TYPES:
        raise ArtifactError(f"{folder / METADATA}: no array of {', '.join(TYPES)}; delete it and run its step again")
    dtype = np.dtype(name).newbyteorder("<")
    expected = _array_metadata(tuple(shape), dtype)
    for key in ("node_type", "chunk_grid", "chunk_key_encoding", "codecs"):
        if metadata.get(key) != expected[key]:
            raise ArtifactError(
                f"{folder / METADATA}: {key} is {metadata.get(key)!r}, a raw array in one chunk has {expected[key]!r}; "
                "delete it and run its step again"
            )
    return tuple(shape), dtype


def _read_metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; run the workflow again to make it again") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); delete it and run its step again") from None
    if not isinstance(metadata, dict) or metadata.get("zarr_format") != 3:
        raise ArtifactError(f"{path} is not Zarr v3 metadata; delete it and run its step again")
    return metadata


def _array_metadata(shape: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(1, size) for size in shape]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": CODECS,
        "fill_value": 0.0 if dtype.kind == "f" else 0,
        "attributes": {},
    }


def _chunk_name(dimensions: int) -> str:
    return "/".join(["c", *["0"] * dimensions])
