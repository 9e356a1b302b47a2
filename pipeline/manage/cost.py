"""What making an artifact again will cost: as last time, as another of its kind, or from counts of FLOPs and bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.allocation import layout_of
from pipeline.artifact.cost import seconds_taken
from pipeline.artifact.manifest import Manifest
from pipeline.graph import Graph
from pipeline.model.count import parameters, training_flops_per_token
from pipeline.nodes import Node
from pipeline.settings.corpus import DownloadStep
from pipeline.settings.shards import PackStep
from pipeline.settings.training import TrainStep

GPU_FLOPS = 0.4 * 989e12
"""A well-fed H100 in bf16: 40 % of the peak on its data sheet."""
CPU_FLOPS = 1e11
"""Two cores in fp32, as the demo was measured."""
TEXT_BYTES_A_SECOND = 5e6
"""Text that a step reads or tokenizes in a second, on two cores."""
MINUTE = 60.0
"""A step whose work does not grow with the text: start-up, mostly."""
TEXT_PER_FILE_BYTE = 3.0
"""Gzip makes text about a third as large."""
TOKEN_BYTES = 4
STATE_BYTES = 12
"""A checkpoint's weight and two averages of a parameter, in fp32."""


@dataclass(frozen=True)
class Cost:
    """What one artifact costs."""

    seconds: float
    """Wall time, without waiting in a queue."""
    gpu_hours: float
    disk_bytes: int
    ground: str
    """On what the figures rest."""


def cost_of(graph: Graph, name: str) -> Cost:
    """What making an artifact again will cost."""
    node = graph.nodes[name]
    before = graph.record(name)
    like = before or next(filter(None, map(graph.record, graph.named(node.step))), None)
    if like is None:
        seconds, size, ground = _seconds(graph, node), _bytes(graph, node), "estimated"
    else:
        scale = _work(node.step, node.settings) / _work(like.step, like.settings)
        seconds, size = seconds_taken(like) * scale, sum(entry.size for entry in like.files)
        ground = "as last time" if like is before else f"as {like.name} took"
    return Cost(seconds, seconds * _gpus(node, before) / 3600, size, ground)


def _gpus(node: Node, before: Manifest | None) -> int:
    """How many GPUs a step keeps busy: those of its layout, unless it took none last time."""
    if node.step not in ("train", "evaluate") or (before and before.counts.get("device") == "cpu"):
        return 0
    layout = layout_of(node)
    return 0 if layout.device == "cpu" else layout.world_size


def _work(step: str, settings: Mapping[str, Any]) -> float:
    """How much a step has to do, in a unit of its own; 1 where it cannot be told from its settings."""
    return _training_flops(TrainStep.parse(settings)) if step == "train" else 1.0


def _training_flops(settings: TrainStep) -> float:
    tokens = settings.training.steps(settings.seq_len) * settings.training.global_batch_size * settings.seq_len
    return tokens * training_flops_per_token(settings.model, settings.seq_len)


def _seconds(graph: Graph, node: Node) -> float:
    if node.step == "train":
        gpus = _gpus(node, None)
        return _training_flops(TrainStep.parse(node.settings)) / (GPU_FLOPS * gpus if gpus else CPU_FLOPS)
    if node.step in ("download", "tokenize"):
        return MINUTE + _text_bytes(graph, node) / TEXT_BYTES_A_SECOND
    return MINUTE


def _bytes(graph: Graph, node: Node) -> int:
    if node.step == "train":
        size = parameters(TrainStep.parse(node.settings).model)
        checkpoints = 1 + graph.project.stages[node.name.split("/")[1]].training.checkpoints.keep_last
        return (size.total + size.mtp) * (4 + STATE_BYTES * checkpoints)
    if node.step == "pack":
        pack = PackStep.parse(node.settings)
        return pack.rows_per_shard * pack.shards * (pack.seq_len + 1 + pack.mtp_depth) * TOKEN_BYTES
    if node.step in ("download", "tokenize"):
        return int(_text_bytes(graph, node) / TEXT_PER_FILE_BYTE)
    return 0


def _text_bytes(graph: Graph, node: Node) -> float:
    raw = node if node.step == "download" else graph.nodes[node.inputs[0]]
    settings = DownloadStep.parse(raw.settings)
    return settings.text_bytes or sum(settings.sizes) * TEXT_PER_FILE_BYTE
