"""How often each token occurs in a stage's text: the ground of the unigram baseline."""

import numpy as np
import pyarrow.parquet as pq

from pipeline.artifact.artifact import Artifact
from pipeline.shards.array import open_member
from pipeline.shards.plan import HISTOGRAMS, TABLE


def unigram_counts(mixture: Artifact, end: int) -> np.ndarray:
    """The expected number of each id among the tokens of a stage's plan: float64 of shape [vocabulary].

    Each domain's histogram of all its training text is scaled to the tokens that the plan takes of it; `end` is the
    end token's id, counted once for each document read. A token that never occurs has the count 0: smooth before use.
    """
    counts: np.ndarray | None = None
    for row in pq.read_table(mixture.path(TABLE)).to_pylist():
        histogram = open_member(mixture, f"{HISTOGRAMS}/{row['domain']}").astype(np.float64)
        text_tokens = row["tokens_delivered"] - row["documents_read"]
        scaled = histogram * (text_tokens / max(1.0, histogram.sum()))
        scaled[end] += row["documents_read"]
        counts = scaled if counts is None else counts + scaled
    assert counts is not None
    return counts
