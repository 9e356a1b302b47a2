"""The order of a stage's documents: each domain shuffled, all domains woven together evenly."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.shards.order import permutation


class Stream(NamedTuple):
    """Documents in training order. All arrays have the shape [plays]; a document read twice stands there twice."""

    domain: np.ndarray
    """The domain's position in the order of names, int16."""
    document: np.ndarray
    """The document's number within its domain, counted over all its blocks, int64."""
    epoch: np.ndarray
    """How often the document was read before, int32."""
    tokens: np.ndarray
    """The document's tokens and its end token, int64."""


def weave(lengths: Mapping[str, np.ndarray], shares: Mapping[str, int], seed: int) -> Stream:
    """Order documents so that every stretch of the stream holds each domain's share, to within a document.

    `lengths` are each domain's documents in tokens (int64, the end token included), `shares` the tokens wanted of each.
    Each document stands where its middle stands in its own domain's stream, as a fraction of the domain's share.
    The stream is at least as long as the sum of the shares, by less than a document of each domain.
    """
    parts, middles = [], []
    for number, domain in enumerate(sorted(lengths)):
        document, epoch = shuffle(lengths[domain], shares[domain], seed, domain)
        tokens = lengths[domain][document]
        parts.append(Stream(np.full(len(document), number, np.int16), document, epoch, tokens))
        middles.append((np.cumsum(tokens) - tokens / 2) / max(1, shares[domain]))
    order = np.argsort(np.concatenate(middles), kind="stable")
    return Stream(*(np.concatenate(column)[order] for column in zip(*parts, strict=True)))


def shuffle(lengths: np.ndarray, wanted: int, seed: int, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """The fewest documents of a domain that have `wanted` tokens: their numbers and epochs, shuffled.

    Every epoch is in another order, and ends before the next begins.
    """
    documents, epochs = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    epoch = 0
    while wanted > 0:
        order = permutation(len(lengths), seed, domain, epoch)
        total = np.cumsum(lengths[order])
        taken = min(len(order), int(np.searchsorted(total, wanted)) + 1)
        documents.append(order[:taken])
        epochs.append(np.full(taken, epoch, np.int32))
        wanted -= int(total[-1])
        epoch += 1
    return np.concatenate(documents), np.concatenate(epochs)
