"""What a block of tokens looks like on disk."""

import numpy as np

GROUP = "tokens.zarr"
"""Holds, for each split, the arrays `tokens` and `offsets`; for training also `histogram`."""
INDEX = "index.parquet"
SPLITS = ("train", "validation")


def id_type(vocabulary: int) -> np.dtype:
    """The type of token ids on disk: the smallest of uint16 and uint32 that holds them all, little-endian."""
    return np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")
