"""The step `validation`: rows of their own for each domain, from documents that training never sees."""

from typing import Any

import numpy as np

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.settings.shards import ValidationStep
from pipeline.shards.array import write_array
from pipeline.shards.concat import rows_of_stream, stream_span
from pipeline.shards.order import permutation
from pipeline.shards.tokens import TokenBlock, by_domain, check_tokenizer, open_block
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import SpecialIds, special_ids


def validation(settings: ValidationStep, build: Build) -> dict[str, Any]:
    """Write `<domain>.zarr` of shape [rows, seq_len + 1 + mtp_depth] for each domain.

    Reads `tokens` (every block of these domains) and `tokenizer`. A domain's documents follow each other in one stream,
    cut into rows; its last row is padded. A domain with more text gives a random choice of its documents, the last of
    them cut at the limit. A domain without validation documents gives an array of no rows.
    """
    tokenizer = build.one("tokenizer")
    blocks = by_domain(build.inputs["tokens"], settings.domains)
    for block in build.inputs["tokens"]:
        check_tokenizer(block, tokenizer.manifest.content, tokenizer.name)
    ids = special_ids(load_tokenizer(tokenizer.path("tokenizer.json")))
    counts: dict[str, Any] = {}
    for domain, found in blocks.items():
        rows, counts[domain] = _rows(settings, found, ids)
        write_array(build.folder / f"{domain}.zarr", rows)
    return {"domains": counts}


def _rows(settings: ValidationStep, artifacts: list[Artifact], ids: SpecialIds) -> tuple[np.ndarray, dict[str, int]]:
    blocks = [open_block(one, "validation") for one in artifacts]
    lengths = np.concatenate([block.lengths for block in blocks])
    limit = settings.rows * settings.seq_len
    order = permutation(len(lengths), "validation")
    chosen = order[: int(np.searchsorted(np.cumsum(lengths[order]), limit)) + 1]
    total = int(lengths[chosen].sum())
    rows = -(-min(total, limit) // settings.seq_len)
    width = settings.seq_len + 1 + settings.mtp_depth
    dtype = blocks[0].tokens.dtype
    counts = {
        "rows": rows,
        "tokens": min(total, limit),
        "documents": len(chosen),
        "documents_cut": int(total > limit),
        "documents_unused": len(lengths) - len(chosen),
    }
    if rows == 0:
        return np.empty((0, width), dtype), counts
    stream = np.full(stream_span(0, rows, settings.seq_len, width)[1], ids.pad, dtype)
    text = _join(blocks, chosen, ids.end)[: len(stream)]
    stream[: len(text)] = text
    return rows_of_stream(stream, rows, settings.seq_len, width), counts


def _join(blocks: list[TokenBlock], documents: np.ndarray, end: int) -> np.ndarray:
    """Documents, numbered over all blocks, one after the other, each with its end token."""
    begins = np.cumsum([0, *(len(block.offsets) - 1 for block in blocks)])
    pieces = []
    for document in documents.tolist():
        number = int(np.searchsorted(begins, document, side="right")) - 1
        block, local = blocks[number], document - int(begins[number])
        pieces += [block.tokens[block.offsets[local] : block.offsets[local + 1]], np.array([end], block.tokens.dtype)]
    return np.concatenate(pieces)
