"""Scoring validation rows, as training goes and at its end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.artifact.files import ArtifactError
from pipeline.evaluate.measures import MIXTURE, Measures, Tally, measure, mix
from pipeline.model.deepseek import DeepSeekV3, Scores

SHOWN = ("nats_per_token", "bits_per_byte", "perplexity", "accuracy")


@dataclass(frozen=True)
class Validated:
    """What a model reached on one domain's rows."""

    measures: Measures
    rows: int
    targets: int
    text_bytes: int
    expert_counts: np.ndarray
    """[layers, experts] int64: the tokens that each expert got, in the order of `balance.moe_layers`."""


def validate(
    model: DeepSeekV3,
    rows: Mapping[str, np.ndarray],
    token_bytes: np.ndarray,
    pad_id: int,
    batch_rows: int,
    most_rows: int | None = None,
    scored: Callable[[int], Any] | None = None,
) -> dict[str, Validated]:
    """Score the first `most_rows` validation rows of each domain (all of them for None); one without text is left out.

    `rows` are arrays [rows, sequence + 1 + mtp_depth] by domain; `token_bytes` [vocabulary] are the bytes of text
    behind each id; `scored` hears the number of rows of every batch done. The model is left in the mode it was in, its
    training state (router counts, random numbers) untouched. Raises ArtifactError if no domain has text, or if a
    loss is not finite.
    """
    training = model.training
    model.eval()
    try:
        found = {
            name: _domain(name, model, array[:most_rows], token_bytes, pad_id, batch_rows, scored)
            for name, array in rows.items()
        }
    finally:
        model.train(training)
    with_text = {name: one for name, one in found.items() if one is not None}
    if not with_text:
        raise ArtifactError(f"none of the domains {sorted(rows)} has validation text; raise validation.fraction")
    return with_text


def validation_rows(
    validated: Mapping[str, Validated], weights: Mapping[str, float], step: int, tokens: int
) -> list[dict[str, Any]]:
    """A validation as rows of validation.parquet: one for each domain, then one for the mixture of `weights`."""
    measures = {name: found.measures for name, found in validated.items()}
    measures[MIXTURE] = mix(measures, weights)
    return [
        {"step": step, "tokens": tokens, "domain": name, **{key: getattr(found, key) for key in SHOWN}}
        for name, found in measures.items()
    ]


def _domain(
    name: str,
    model: DeepSeekV3,
    rows: np.ndarray,
    token_bytes: np.ndarray,
    pad_id: int,
    batch_rows: int,
    scored: Callable[[int], Any] | None,
) -> Validated | None:
    device = next(model.parameters()).device
    tally, experts = Tally(), None
    for start in range(0, len(rows), batch_rows):
        batch = rows[start : start + batch_rows].astype(np.int64)
        scores = model.scores(torch.from_numpy(batch).to(device), pad_id)
        _count(tally, scores, batch, token_bytes)
        counts = scores.expert_counts.cpu().numpy()
        experts = counts if experts is None else experts + counts
        if scored is not None:
            scored(len(batch))
    if not sum(tally.row_bytes):
        return None
    try:
        measures = measure(tally)
    except ValueError as error:
        raise ArtifactError(f"validation of {name}: {error}") from None
    assert experts is not None
    return Validated(measures, len(rows), tally.targets, sum(tally.row_bytes), experts)


def _count(tally: Tally, scores: Scores, batch: np.ndarray, token_bytes: np.ndarray) -> None:
    mask, correct = scores.mask.cpu().numpy(), scores.correct.cpu().numpy()
    targets = batch[:, 1 : 1 + mask.shape[1]]
    tally.add_rows(scores.nats.double().cpu().numpy(), token_bytes[targets] * mask, mask, correct)
    for depth, (mtp_mask, mtp_correct) in enumerate(zip(scores.mtp_mask, scores.mtp_correct, strict=True)):
        tally.add_depth(depth, mtp_mask.cpu().numpy(), mtp_correct.cpu().numpy(), correct)
