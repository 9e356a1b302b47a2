"""The model card: what the model is, what it reached, what it was made of, and how to load it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.artifact.artifact import Artifact
from pipeline.model.count import parameters
from pipeline.settings.base import identity
from pipeline.settings.export import ExportStep
from pipeline.settings.model import ModelSettings

FIGURES = {
    "weight": "weight",
    "nats_per_token": "loss (nats/token)",
    "perplexity": "perplexity",
    "bits_per_byte": "bits per byte",
    "unigram_bits_per_byte": "unigram",
    "gzip_bits_per_byte": "gzip",
    "accuracy": "accuracy",
}
"""The columns of the table of figures: keys of the evaluation's counts, and their headings."""


def model_card(
    settings: ExportStep, model: ModelSettings, config: Mapping[str, Any], inputs: Sequence[Artifact]
) -> str:
    """README.md, with the metadata that model hubs read at its top; `inputs` are what the export was made of."""
    stage = next(artifact.name.rpartition("/")[2] for artifact in inputs if artifact.manifest.step == "train")
    evaluations = [artifact for artifact in inputs if artifact.manifest.step == "evaluate"]
    sections = [
        _metadata(),
        f"# {stage}",
        _description(model, config),
        *(_evaluation(artifact.manifest.counts) for artifact in evaluations),
        _loading(config),
        f"## Settings\n\n```json\n{json.dumps(identity(model), indent=1)}\n```",
        _training_data(settings),
        _lineage(inputs),
    ]
    return "\n\n".join(sections) + "\n"


def _metadata() -> str:
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [mixture-of-experts, deepseek_v3]\n---"
    )


def _description(model: ModelSettings, config: Mapping[str, Any]) -> str:
    size = parameters(model)
    dense = ", ".join(map(str, model.dense_layers)) or "none"
    mtp = f", and {model.mtp_depth} MTP module(s) with {size.mtp:,} more" if model.mtp_depth else ""
    return (
        "A language model of DeepSeek-V3's architecture (arXiv 2412.19437): multi-head latent attention, a mixture of"
        f" experts balanced by router biases, multi-token prediction. {size.total:,} parameters, {size.active:,} active"
        f" for a token{mtp}. {model.num_layers} layers (dense: {dense}), hidden size {model.hidden_size},"
        f" {model.moe.num_experts} routed experts of which a token uses {model.moe.top_k},"
        f" {model.max_position_embeddings} positions. Weights in {config['dtype']}."
    )


def _evaluation(counts: Mapping[str, Any]) -> str:
    rows = {**counts["domains"], "**mixture**": counts["mixture"]}
    columns = {key: title for key, title in FIGURES.items() if all(key in figures for figures in rows.values())}
    lines = [_row(["validation text", *columns.values()]), _row(["---"] * (len(columns) + 1))]
    lines += [_row([name, *(f"{figures[key]:.4g}" for key in columns)]) for name, figures in rows.items()]
    return "\n".join(["## Evaluation", "", *lines])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _loading(config: Mapping[str, Any]) -> str:
    note = ""
    if config["model_type"] == "glm4_moe_lite":
        note = (
            "\n\nThe model type is `glm4_moe_lite` because dense layers stand between the others, which `deepseek_v3`"
            " cannot say. Engines that ignore `mlp_layer_types` (as vLLM's reader of this type may) would build other"
            " layers and fail to load the weights."
        )
    if config["num_nextn_predict_layers"]:
        note += (
            "\n\nThe MTP modules are further layers, as DeepSeek-V3 publishes them; transformers reports them as"
            " unexpected weights and generates without them."
        )
    return (
        "## Loading\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")\n'
        'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")\n```'
        "\n\nNo remote code is needed. In training, documents followed each other with the end token between them, and"
        f" none began with the begin token.{note}"
    )


def _training_data(settings: ExportStep) -> str:
    licence = settings.data_licence or "not stated (setting `export.data_licence`); see the sources of the text"
    return f"## Training text\n\nLicence: {licence}."


def _lineage(inputs: Sequence[Artifact]) -> str:
    """The artifacts that this was made of, and those that they were made of."""
    known = {artifact.name: artifact.manifest.fingerprint for artifact in inputs}
    for artifact in inputs:
        for source in artifact.manifest.inputs:
            known.setdefault(source.artifact, source.fingerprint)
    lines = [_row([f"`{name}`", f"`{fingerprint}`"]) for name, fingerprint in sorted(known.items())]
    return "\n".join(["## Lineage", "", _row(["artifact", "fingerprint"]), _row(["---", "---"]), *lines])
