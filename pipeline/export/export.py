"""The step `export`: a trained stage as a folder that transformers loads."""

import json
from pathlib import Path
from typing import Any

import torch

from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.evaluate.checkpoint import load_model
from pipeline.evaluate.lineage import require_one_lineage
from pipeline.export.card import model_card
from pipeline.export.config import special_id_keys, transformers_config
from pipeline.export.parity import check_parity
from pipeline.export.tokenizer import write_tokenizer
from pipeline.export.weights import round_weights, transformers_tensors, write_weights
from pipeline.settings.export import ExportStep
from pipeline.settings.model import ModelSettings
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import SpecialIds, special_ids


def export(settings: ExportStep, build: Build) -> dict[str, Any]:
    """Export the weights of `train` with the tokenizer of `tokenizer`; figures of `evaluate`, if given, go on the card.

    The folder is then loaded by transformers and compared with the checkpoint. Raises ArtifactError if that differs, if
    the inputs do not belong together, or if the checkpoint is not one of its settings; SettingsError if transformers
    knows no such model.
    """
    inputs = [artifact for artifacts in build.inputs.values() for artifact in artifacts]
    require_one_lineage(inputs)
    torch.set_num_threads(build.workers)
    model = load_model(build.one("train"), torch.device("cpu"))
    tokenizer_file = build.one("tokenizer").path("tokenizer.json")
    ids = _special_ids(tokenizer_file, model.settings)
    config = transformers_config(model.settings, ids, settings.dtype)
    dtype = getattr(torch, settings.dtype)
    state = model.state_dict()
    round_weights(state, dtype)
    tensors = transformers_tensors(state, model.settings.num_layers)
    files = write_weights(build.folder, tensors, dtype, settings.max_shard_bytes)
    _write_json(build.folder / "config.json", config)
    _write_json(build.folder / "generation_config.json", special_id_keys(ids))
    write_tokenizer(build.folder, tokenizer_file, model.settings)
    (build.folder / "README.md").write_text(model_card(settings, model.settings, config, inputs), encoding="utf-8")
    parity = check_parity(build.folder, model)
    return {
        "model_type": config["model_type"],
        "dtype": settings.dtype,
        "tensors": len(tensors),
        "weight_files": len(files),
        "weight_bytes": sum((build.folder / file).stat().st_size for file in files),
        "parity": parity.plain(),
    }


def _special_ids(tokenizer_file: Path, model: ModelSettings) -> SpecialIds:
    tokenizer = load_tokenizer(tokenizer_file)
    if tokenizer.get_vocab_size() > model.vocab_size:
        raise ArtifactError(
            f"{tokenizer_file} has {tokenizer.get_vocab_size()} tokens, the model's vocab_size is {model.vocab_size};"
            " export the model with the tokenizer that it was trained with"
        )
    return special_ids(tokenizer)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
