"""The model card: what the model is, how it was trained, what it reached and was made of, and how to load it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.lineage import trace
from pipeline.model.count import parameters
from pipeline.settings.base import identity
from pipeline.settings.export import ExportStep
from pipeline.settings.model import ModelSettings
from pipeline.settings.training import TrainStep

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
    """README.md, with the metadata that model hubs read at its top; `inputs` are what the export was made of.

    It says nothing of times, hosts or speed: equal inputs, of which as much is still there, give an equal card. Raises
    ArtifactError if a manifest of the lineage cannot be trusted.
    """
    train = next(artifact for artifact in inputs if artifact.manifest.step == "train")
    run = TrainStep.parse(train.manifest.settings, train.name)
    evaluations = [artifact for artifact in inputs if artifact.manifest.step == "evaluate"]
    sections = [
        _metadata(config),
        f"# {train.name.rpartition('/')[2]}",
        _description(model, config),
        _training(run, train.manifest.counts),
        *(_evaluation(artifact.manifest.counts) for artifact in evaluations),
        _loading(config),
        f"## Settings\n\n```json\n{json.dumps(identity(model), indent=1)}\n```",
        _training_data(settings),
        _lineage(inputs),
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(config: Mapping[str, Any]) -> str:
    tags = f"[mixture-of-experts, {config['model_type']}]"
    return f"---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: {tags}\n---"


def _description(model: ModelSettings, config: Mapping[str, Any]) -> str:
    size = parameters(model)
    dense = ", ".join(map(str, model.dense_layers)) or "none"
    mtp = f", and {model.mtp_depth} MTP module(s) with {size.mtp:,} more" if model.mtp_depth else ""
    parts = ["multi-head latent attention", "a mixture of experts", *["multi-token prediction"] * bool(model.mtp_depth)]
    return (
        f"A language model of DeepSeek-V3's architecture (arXiv 2412.19437): {', '.join(parts)}."
        f" {size.total:,} parameters, {size.active:,} active for a token{mtp}. {model.num_layers} layers (dense:"
        f" {dense}), hidden size {model.hidden_size}, {model.moe.num_experts} routed experts of which a token uses"
        f" {model.moe.top_k}, {model.max_position_embeddings} positions. Weights in {config['dtype']}."
    )


def _training(run: TrainStep, counts: Mapping[str, Any]) -> str:
    """How the weights came about: the run's settings, and what it counted."""
    training, schedule, batch = run.training, run.training.schedule, run.training.global_batch_size
    rows = {
        "tokens": f"{counts['tokens']:,}",
        "steps": f"{counts['steps']:,} ({counts['skipped_steps']:,} of them skipped, as not finite)",
        "sequence length": f"{run.seq_len:,} tokens",
        "global batch": f"{batch:,} sequences, {batch * run.seq_len:,} tokens",
        "peak learning rate": f"{training.lr:g}",
        "schedule": (
            f"{schedule.kind}, {schedule.warmup_tokens:,} tokens of warm-up, to {schedule.final_fraction:g} of the peak"
        ),
        "optimizer": (
            f"AdamW, betas {training.betas[0]:g} and {training.betas[1]:g}, epsilon {training.eps:g},"
            f" weight decay {training.weight_decay:g}, gradients clipped to norm {training.clip_grad_norm:g}"
        ),
        "precision": "bfloat16, with float32 weights" if training.use_bf16 else "float32",
        "expert load balanced by": _balancing(run),
    }
    lines = [_row(["", ""]), _row(["---", "---"]), *(_row(row) for row in rows.items())]
    return "\n".join(["## Training", "", *lines])


def _balancing(run: TrainStep) -> str:
    moe, until = run.model.moe, run.training.bias_update_until_fraction
    ways = []
    if moe.bias_update_speed and until:
        part = f" over the first {until:.4g} of the tokens" if until < 1 else ""
        ways.append(f"router biases (update speed {moe.bias_update_speed:g}{part})")
    if moe.sequence_loss_weight:
        ways.append(f"a loss within each sequence (weight {moe.sequence_loss_weight:g})")
    if moe.router_aux_loss_weight:
        ways.append(f"the Switch loss over {run.switch_rows} sequences (weight {moe.router_aux_loss_weight:g})")
    return ", ".join(ways) or "nothing"


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
    """What this was made of, back to the raw text: every artifact by its content, and what became of it."""
    states: dict[tuple[str, str], str] = {}
    for artifact in inputs:
        given = (artifact.name, artifact.manifest.content)
        if given in states:  # met in another's lineage, and its own with it
            continue
        states[given] = ""
        for ancestor in trace(artifact.folder):
            state = "no longer there" if ancestor.missing else "replaced since" if ancestor.changed else ""
            states.setdefault((ancestor.source.artifact, ancestor.source.content), state)
    lines = [_row([f"`{name}`", f"`{content}`", states[name, content]]) for name, content in sorted(states)]
    note = "Digests are of the files' content. "
    if "no longer there" in states.values():
        note += "Of those that are no longer there it is not known what they were made of. "
    if "replaced since" in states.values():
        note += "For those that were replaced since, what their successors were made of is listed. "
    table = [_row(["artifact", "content", ""]), _row(["---", "---", "---"]), *lines]
    return "\n".join(["## Lineage", "", note.rstrip(), "", *table])
