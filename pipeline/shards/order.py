"""Reproducible shuffling that depends on no library's random stream."""

import hashlib

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)


def permutation(count: int, *key: int | str) -> np.ndarray:
    """A random order of the numbers 0 to `count` - 1: int64, decided by the key alone.

    Each number gets the hash of itself and the key (SplitMix64, Steele et al. 2014), and the hashes are sorted.
    """
    start = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    with np.errstate(over="ignore"):
        state = np.uint64(int.from_bytes(start, "little")) + GAMMA * np.arange(1, count + 1, dtype=np.uint64)
        state = (state ^ (state >> np.uint64(30))) * FIRST
        state = (state ^ (state >> np.uint64(27))) * SECOND
        state ^= state >> np.uint64(31)
    return np.argsort(state, kind="stable")
