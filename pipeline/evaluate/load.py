"""How evenly the router spreads tokens over the experts of a layer."""

import numpy as np


def shares(counts: np.ndarray) -> np.ndarray:
    """The share of a layer's choices that each expert got, [..., experts]: sums to 1, or is 0 without counts."""
    totals = counts.sum(-1, keepdims=True)
    part: np.ndarray = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    return part


def violation(counts: np.ndarray) -> np.ndarray:
    """By how much the busiest expert exceeds the mean: max / mean - 1 ("MaxVio", arXiv 2408.15664, section 4.1).

    0 is even, experts - 1 is collapse. counts [..., experts] to [...].
    """
    excess: np.ndarray = np.maximum(shares(counts).max(-1) * counts.shape[-1] - 1.0, 0.0)
    return excess


def entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy of the load over its largest value, log(experts): 1 is even, 0 is collapse."""
    part = shares(counts)
    nats = -np.where(part > 0, part * np.log(np.where(part > 0, part, 1.0)), 0.0).sum(-1)
    return nats / np.log(counts.shape[-1]) if counts.shape[-1] > 1 else np.ones(counts.shape[:-1])
