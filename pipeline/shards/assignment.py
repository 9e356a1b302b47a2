"""What a way of packing decides for a whole stage."""

from typing import NamedTuple

import numpy as np


class Assignment(NamedTuple):
    """Which tokens go to which shard, in order. All arrays are int64 of shape [entries]."""

    document: np.ndarray
    """The position of the document among those given."""
    first: np.ndarray
    """The position of the entry's first token within the document."""
    tokens: np.ndarray
    """Its tokens, the end token among them."""
    shard: np.ndarray
    """The shard where it begins; in increasing order."""
    bounds: np.ndarray
    """Where each shard begins in the run of all entries' tokens: int64 of shape [shards]."""
    padding: int
    """Columns of the stage's rows that stay empty."""
