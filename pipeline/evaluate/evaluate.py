"""The step `evaluate`: what a trained stage reaches on validation text of every domain, and whether that is enough."""

import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.evaluate.baselines import gzip_bits_per_byte, unigram_bits_per_byte, unigram_nats
from pipeline.evaluate.checkpoint import load_model
from pipeline.evaluate.device import choose_device
from pipeline.evaluate.gate import Results, judge
from pipeline.evaluate.lineage import require_one_lineage
from pipeline.evaluate.load import entropy, violation
from pipeline.evaluate.measures import MIXTURE
from pipeline.evaluate.tables import domain_table, expert_table, figure_tables, rounded, with_mixture
from pipeline.evaluate.text import join_text, token_texts
from pipeline.evaluate.validate import Validated, validate
from pipeline.model.balance import moe_layers
from pipeline.model.deepseek import DeepSeekV3
from pipeline.settings.evaluation import BATCH_ROWS, EvaluateStep, GateSettings
from pipeline.shards.array import open_member
from pipeline.shards.tokens import check_tokenizer
from pipeline.shards.unigram import unigram_counts
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import special_ids

BASELINES = ("unigram_bits_per_byte", "gzip_bits_per_byte")


def evaluate(settings: EvaluateStep, build: Build) -> dict[str, Any]:
    """Score `train` (weights) on `validation` (rows by domain), beside baselines from `mixture` and `tokenizer`.

    Writes evaluation.json, domains.parquet and expert_load.parquet; the counts hold the figures and the gate's verdict.
    `build.execution` may say `device` (auto, cpu, cuda), `batch_rows` and `workers` (threads).
    Raises ArtifactError if the inputs do not belong together.
    """
    train, validation, mixture, tokenizer = (build.one(r) for r in ("train", "validation", "mixture", "tokenizer"))
    require_one_lineage((train, validation, mixture, tokenizer))
    check_tokenizer(validation, tokenizer.manifest.content, tokenizer.name)
    loaded = load_tokenizer(tokenizer.path("tokenizer.json"))
    texts, ids = token_texts(loaded), special_ids(loaded)
    model = load_model(train, choose_device(str(build.execution.get("device", "auto"))))
    rows = _validation_rows(validation, model.settings.mtp_depth, len(texts), settings.rows)
    found = _score(build, model, rows, np.array([len(text) for text in texts]), ids.pad)
    unigram = unigram_nats(unigram_counts(mixture, ids.end))
    targets = {name: _targets(rows[name], model.settings.mtp_depth, ids.pad) for name in found}
    baselines = {name: _baselines(one, join_text(texts, one), unigram) for name, one in targets.items()}
    weights = {row["domain"]: row["weight_delivered"] for row in mixture.manifest.counts["mixture"]}
    experts = {name: one.expert_counts for name, one in found.items()}
    layers = [name for name, _ in moe_layers(model)]
    tables = figure_tables(found, baselines, weights)
    counts = _write(build, settings.gate, tables, layers, with_mixture(experts, weights))
    return {**counts, "without_text": sorted(rows.keys() - found.keys())}


def _validation_rows(
    validation: Artifact, mtp_depth: int, vocabulary: int, most_rows: int | None
) -> dict[str, np.ndarray]:
    """The rows of every domain, as the artifact's settings and the model say they must be."""
    width = int(validation.manifest.settings["seq_len"]) + 1 + mtp_depth
    rows = {}
    for name in validation.manifest.settings["domains"]:
        found = open_member(validation, f"{name}.zarr")[:most_rows]
        if found.shape[1] != width:
            raise ArtifactError(
                f"{validation.name}: rows of {name} have {found.shape[1]} tokens, a model of MTP depth "
                f"{mtp_depth} reads {width}; pack the validation rows for this stage"
            )
        if found.max(initial=0) >= vocabulary:
            raise ArtifactError(
                f"{validation.name}: {name} holds the token {found.max()}, but the tokenizer has only "
                f"{vocabulary}; both must come from one run of the workflow"
            )
        rows[name] = found
    return rows


def _score(
    build: Build, model: DeepSeekV3, rows: dict[str, np.ndarray], token_bytes: np.ndarray, pad_id: int
) -> dict[str, Validated]:
    if "workers" in build.execution:
        torch.set_num_threads(build.workers)
    batch_rows = int(build.execution.get("batch_rows", BATCH_ROWS))
    with tqdm(total=sum(map(len, rows.values())), desc="evaluate", unit="row", mininterval=1, disable=None) as bar:
        return validate(model, rows, token_bytes, pad_id, batch_rows, scored=bar.update)


def _targets(rows: np.ndarray, mtp_depth: int, pad_id: int) -> np.ndarray:
    """The ids that the main model predicts in a domain's rows, one after the other."""
    predicted = rows[:, 1 : rows.shape[1] - mtp_depth]
    targets: np.ndarray = predicted[predicted != pad_id]
    return targets


def _baselines(targets: np.ndarray, text: bytes, unigram: np.ndarray) -> dict[str, float]:
    """Bits per byte of the unigram and of gzip on the targets of a domain, and on the text that they stand for."""
    found = (unigram_bits_per_byte(unigram, targets, len(text)), gzip_bits_per_byte(text))
    return dict(zip(BASELINES, found, strict=True))


def _write(
    build: Build,
    gate: GateSettings,
    tables: dict[str, dict[str, Any]],
    layers: list[str],
    experts: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Write the three files. Returns the figures and the verdict."""
    busiest, even = violation(experts[MIXTURE]), entropy(experts[MIXTURE])
    balance = [
        {"layer": layer, "violation": float(busiest[number]), "entropy": float(even[number])}
        for number, layer in enumerate(layers)
    ]
    worst = float(busiest.max(initial=0.0))
    headline = tables[MIXTURE]
    passed, reasons = judge(gate, Results(headline["bits_per_byte"], headline["unigram_bits_per_byte"], worst))
    counts: dict[str, Any] = {
        "mixture": headline,
        "domains": {name: table for name, table in tables.items() if name != MIXTURE},
        "expert_violation": worst,
        "gate": {"passed": passed, "reasons": reasons},
    }
    counts = rounded(counts)
    text = json.dumps({**counts, "experts": rounded(balance)}, indent=1, ensure_ascii=False) + "\n"
    (build.folder / "evaluation.json").write_text(text, encoding="utf-8")
    pq.write_table(domain_table(tables), build.folder / "domains.parquet")
    pq.write_table(expert_table(layers, experts), build.folder / "expert_load.parquet")
    return counts
