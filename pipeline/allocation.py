"""What a job of a step asks a cluster for: nodes, GPUs, memory, time. Known from the stage's layout before it runs."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.model.count import parameters
from pipeline.nodes import Node
from pipeline.settings.distributed import DistributedSettings
from pipeline.settings.stage import StageSettings

CPUS_A_GPU = 8
"""Cores for one process with a GPU: its own thread, and those that load data and write checkpoints."""
CPUS_A_PROCESS = 4
"""Cores for one process that trains on the CPU, unless `distributed.threads` says another number."""
PROCESS_MB = 3000
"""What Python, torch and Snakemake take for each process, before the model."""
STATE_BYTES = 16
"""A parameter's weight, gradient and two averages of AdamW, in fp32."""
EVALUATE_MINUTES = 120
FINDING_MB = 2000
FINDING_MINUTES = 30
"""What a step takes that only has to find that its work is done."""


@dataclass(frozen=True)
class Cluster:
    """A cluster's own names and limits, as profiles/slurm sets them. One machine has none of them."""

    cpu_partition: str = ""
    gpu_partition: str = ""
    gpu_gres: str = "gpu"
    """The generic resource that a GPU is, for instance `gpu` or `gpu:h100`."""
    train_minutes: int = 1440
    """How long one training job may run. A stage that takes longer continues in the next job."""
    extra: str = ""
    """More options for sbatch."""

    @classmethod
    def of(cls, default_resources: Mapping[str, str | int]) -> "Cluster | None":
        """Read it from a profile's default resources as they are written; None where they name no cluster."""
        if "gpu_partition" not in default_resources:
            return None
        fields = {
            "slurm_partition": "cpu_partition",
            "gpu_partition": "gpu_partition",
            "gpu_gres": "gpu_gres",
            "train_minutes": "train_minutes",
            "slurm_extra": "extra",
        }
        return cls(
            **{field: _plain(default_resources[key]) for key, field in fields.items() if key in default_resources}
        )


class Resources(dict[str, Any]):
    """Snakemake's resources by name; one that is not there is not asked for."""


def _plain(written: str | int) -> Any:
    """The value of a resource as a profile writes it: a number, a text, or a text in Python's quotes."""
    try:
        return ast.literal_eval(str(written))
    except (SyntaxError, ValueError):
        return written


def stage_threads(node: Node) -> int:
    """The cores that a stage's step wants on each of its nodes."""
    layout = layout_of(node)
    if layout.device != "cpu":
        return CPUS_A_GPU * layout.processes_a_node
    return (layout.threads or CPUS_A_PROCESS) * layout.processes_a_node


def stage_resources(node: Node, stage: StageSettings, cluster: Cluster | None, attempt: int, found: bool) -> Resources:
    """What a job of a step that trains or evaluates a stage asks for; time and memory grow with each attempt.

    `found` says that its work is done already, or that another job is doing it: then a small job without GPUs finds
    that out, and does not wait for any.
    """
    partition = {"slurm_partition": cluster.cpu_partition} if cluster else {}
    if found:
        return Resources(mem_mb=FINDING_MB * attempt, runtime=FINDING_MINUTES * attempt, **partition)
    layout = layout_of(node)
    trains = node.step == "train"
    minutes = EVALUATE_MINUTES * attempt if cluster is None or not trains else cluster.train_minutes
    resources = Resources(mem_mb=_memory_mb(layout, stage) * attempt, runtime=minutes, **partition)
    if cluster is None:
        return resources
    if layout.device != "cpu":
        resources.update(
            slurm_partition=cluster.gpu_partition,
            gres=f"{cluster.gpu_gres}:{layout.processes_a_node}",
            tasks_per_gpu=0,  # else the executor adds --ntasks-per-gpu, and the job gets another shape
        )
    if layout.nodes > 1:
        # One launcher a node, started by srun from within the job; `mpi` has the executor leave that to the step.
        resources.update(nodes=layout.nodes, tasks=layout.nodes, mpi="srun")
    return resources


def layout_of(node: Node) -> DistributedSettings:
    """On what a step computes: a training stage on all of its layout, any other on one process of it."""
    if node.step == "train":
        return DistributedSettings.parse(node.execution["distributed"])
    return DistributedSettings(device=node.execution.get("device", "cpu"))


def _memory_mb(layout: DistributedSettings, stage: StageSettings) -> int:
    """Main memory of one node: on the CPU every process holds the whole state; with GPUs one stages a checkpoint."""
    size = parameters(stage.model)
    state_mb = (size.total + size.mtp) * STATE_BYTES // 2**20
    copies = layout.processes_a_node if layout.device == "cpu" else 1
    return PROCESS_MB * layout.processes_a_node + 2 * state_mb * copies
