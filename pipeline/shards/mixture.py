"""The step `mixture`: which documents a stage trains on, in which order and in which shard."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.settings.shards import MixtureStep, shard_count
from pipeline.shards import best_fit, concat
from pipeline.shards.array import open_member, write_array, write_group
from pipeline.shards.assignment import Assignment
from pipeline.shards.layout import GROUP
from pipeline.shards.plan import HISTOGRAMS, PLAN, SCHEMA, TABLE, write_plan
from pipeline.shards.shares import token_shares
from pipeline.shards.stream import Stream, weave
from pipeline.shards.tokens import by_domain, open_block, vocabulary_of

ASSIGN = {"concat": concat.assign, "best_fit": best_fit.assign}


def mixture(settings: MixtureStep, build: Build) -> dict[str, Any]:
    """Plan a stage: the domains' shares of its tokens to within a document, in one shuffled, evenly woven order.

    Reads `tokens` (every block of the stage's domains). Writes `plan.parquet`, the table `mixture.parquet` of what was
    asked and delivered, and the domains' token histograms. Raises ArtifactError if a domain is missing or too small.
    """
    blocks = by_domain(build.inputs["tokens"], settings.weights)
    vocabulary_of(build.inputs["tokens"])
    lengths = {domain: _lengths(found) for domain, found in blocks.items()}
    row_tokens = settings.seq_len + (1 if settings.packing == "best_fit" else 0)
    shares = token_shares(
        settings.weights,
        {domain: int(found.sum()) for domain, found in lengths.items()},
        settings.rows * row_tokens,
        settings.max_epochs,
        settings.on_shortage,
    )
    stream = weave(lengths, shares, settings.seed)
    assignment = ASSIGN[settings.packing](stream.tokens, settings.rows, settings.rows_per_shard, settings.seq_len)
    write_plan(build.folder / PLAN, _entries(stream, assignment, blocks))
    table = _table(settings, lengths, shares, stream, assignment)
    pq.write_table(pa.Table.from_pylist(table), build.folder / TABLE)
    _write_histograms(build, blocks)
    return {
        "rows": settings.rows,
        "tokens": int(assignment.tokens.sum()),
        "padding": assignment.padding,
        "shards": shard_count(settings.rows, settings.rows_per_shard),
        "largest_deviation": _largest_deviation(stream, assignment),
        "mixture": table,
    }


def _lengths(blocks: list[Artifact]) -> np.ndarray:
    return np.concatenate([open_block(block, "train").lengths for block in blocks])


def _entries(stream: Stream, assignment: Assignment, blocks: dict[str, list[Artifact]]) -> pa.Table:
    """The plan's table: each document's number is turned into its block and its number there."""
    domain, document = stream.domain[assignment.document], stream.document[assignment.document]
    block = np.empty(len(domain), np.int64)
    number = np.empty(len(domain), np.int64)
    before = 0
    for position, found in enumerate(blocks.values()):
        ours = np.flatnonzero(domain == position)
        begins = np.cumsum([0, *(len(open_block(one, "train").offsets) - 1 for one in found)])
        which = np.searchsorted(begins, document[ours], side="right") - 1
        block[ours], number[ours] = before + which, document[ours] - begins[which]
        before += len(found)
    columns = {
        "domain": _named(domain, list(blocks)),
        "block": _named(block, [one.name for found in blocks.values() for one in found]),
        "first_document": number,
        "documents": np.ones(len(domain), np.int64),
        "first_token": assignment.first,
        "tokens": assignment.tokens,
        "epoch": stream.epoch[assignment.document],
        "shard": assignment.shard.astype(np.int32),
        "offset": np.cumsum(assignment.tokens) - assignment.tokens,
    }
    return pa.table(columns, schema=SCHEMA)


def _named(codes: np.ndarray, names: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string()))


def _table(
    settings: MixtureStep,
    lengths: dict[str, np.ndarray],
    shares: dict[str, int],
    stream: Stream,
    assignment: Assignment,
) -> list[dict[str, Any]]:
    """What was asked of each domain, and what it delivers. Tokens include the documents' end tokens."""
    domain = stream.domain[assignment.document]
    tokens = np.bincount(domain, weights=assignment.tokens, minlength=len(lengths)).astype(np.int64)
    begun = np.bincount(domain, weights=assignment.first == 0, minlength=len(lengths)).astype(np.int64)
    rows = []
    for number, name in enumerate(lengths):
        available = int(lengths[name].sum())
        used = len(np.unique(stream.document[assignment.document[domain == number]]))
        rows.append(
            {
                "domain": name,
                "weight_asked": settings.weights[name],
                "weight_delivered": float(tokens[number] / tokens.sum()),
                "tokens_asked": round(settings.weights[name] * sum(shares.values())),
                "tokens_planned": shares[name],
                "tokens_delivered": int(tokens[number]),
                "tokens_available": available,
                "epochs": float(tokens[number] / available) if available else 0.0,
                "documents_read": int(begun[number]),
                "documents_used": used,
                "documents_unused": len(lengths[name]) - used,
            }
        )
    return rows


def _largest_deviation(stream: Stream, assignment: Assignment) -> float:
    """The largest difference between a domain's share of a shard's tokens and its share of the stage's."""
    domain = stream.domain[assignment.document]
    end = np.cumsum(assignment.tokens)
    bounds = np.append(assignment.bounds, end[-1])
    at = np.searchsorted(end, bounds)  # the entry that each bound lies in, or at whose end
    over = end[at] - bounds
    found = 0.0
    for number in np.unique(domain):
        tokens = np.cumsum(np.where(domain == number, assignment.tokens, 0))
        before = tokens[at] - np.where(domain[at] == number, over, 0)
        shares = np.diff(before) / np.diff(bounds)
        found = max(found, float(np.abs(shares - tokens[-1] / end[-1]).max()))
    return found


def _write_histograms(build: Build, blocks: dict[str, list[Artifact]]) -> None:
    for domain, found in blocks.items():
        histograms = [open_member(block, f"{GROUP}/train/histogram") for block in found]
        write_array(build.folder / HISTOGRAMS / domain, np.sum(histograms, axis=0))
    write_group(build.folder / HISTOGRAMS)
