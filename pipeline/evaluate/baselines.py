"""What little or no learning reaches on the same text: the frequencies of tokens, and gzip."""

import gzip
import math

import numpy as np


def unigram_nats(histogram: np.ndarray) -> np.ndarray:
    """Cross-entropy of every token under the unigram model of a histogram [vocabulary], with add-one smoothing.

    The histogram may be weighted, so it holds floats: expected counts of the training tokens.
    """
    counts = histogram.astype(np.float64) + 1.0
    return math.log(math.fsum(counts)) - np.log(counts)


def unigram_bits_per_byte(nats: np.ndarray, targets: np.ndarray, text_bytes: int) -> float:
    """Bits per byte of the unigram model on the target ids, ends of documents included as they are for the model."""
    return float(nats[targets].sum()) / math.log(2) / text_bytes


def gzip_bits_per_byte(text: bytes) -> float:
    """Bits per byte of `gzip -9`. The name and time in its header are left out, so that equal text costs the same."""
    return 8.0 * len(gzip.compress(text, compresslevel=9, mtime=0)) / len(text)
