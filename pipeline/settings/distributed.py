"""On what a stage is trained. All of it is execution: another layout leaves nothing stale."""

from typing import Literal, Self

from pydantic import model_validator

from pipeline.settings.base import Settings, execution


class DistributedSettings(Settings):
    """The section `distributed` of a stage: the engine and its layout."""

    engine: Literal["torch", "deepspeed"] = execution("torch")
    """Which engine trains."""
    device: Literal["auto", "cpu", "cuda"] = execution("auto")
    """`auto` takes a GPU if there is one."""
    data_parallel: int = execution(1, ge=1)
    """Replicas that each see other rows, one process each."""
    tensor_parallel: int = execution(1, ge=1)
    """Processes that share each matrix."""
    pipeline_parallel: int = execution(1, ge=1)
    """Processes that share the layers."""
    expert_parallel: int = execution(1, ge=1)
    """Processes that share the experts."""
    zero_stage: Literal[0, 1, 2, 3] = execution(0)
    """What data-parallel processes share: optimizer state (1), gradients (2), weights (3)."""
    zero_offload: bool = execution(False)
    """Keep the optimizer's state in the CPU's memory."""
    processes_per_node: int = execution(8, ge=1)
    """Processes on one node at most, one a GPU. More than these are spread evenly over nodes of a Slurm job."""
    threads: int = execution(0, ge=0)
    """CPU threads of a process; 0 takes what the rule was given. Another number can change the last bit of a result."""

    @model_validator(mode="after")
    def _data_parallel_only(self) -> Self:
        """What this version cannot do is refused here, by name, and never run silently otherwise."""
        if self.engine != "torch":
            raise ValueError(f"engine is {self.engine!r}, but this version trains with 'torch' only; write 'torch'")
        for key in ("tensor_parallel", "pipeline_parallel", "expert_parallel"):
            if getattr(self, key) != 1:
                raise ValueError(
                    f"{key} is {getattr(self, key)}, but this version trains with whole replicas only; "
                    "write 1, and data_parallel for more processes"
                )
        if self.zero_stage or self.zero_offload:
            key = "zero_stage" if self.zero_stage else "zero_offload"
            raise ValueError(
                f"{key} is {getattr(self, key)}, but ZeRO shares state between processes and this version keeps it "
                "whole in each; write zero_stage 0 and zero_offload false"
            )
        return self

    @model_validator(mode="after")
    def _processes_fill_their_nodes(self) -> Self:
        size, most = self.world_size, self.processes_per_node
        if size > most and size % most:
            raise ValueError(
                f"data_parallel is {size}, but processes_per_node is {most}, and nodes are used whole; "
                f"write data_parallel {size - size % most}, or a processes_per_node that divides {size}"
            )
        return self

    @property
    def world_size(self) -> int:
        """Processes that train together."""
        return self.data_parallel

    @property
    def nodes(self) -> int:
        """Machines that they run on."""
        return max(1, self.world_size // self.processes_per_node)

    @property
    def processes_a_node(self) -> int:
        """Processes on each of these machines."""
        return self.world_size // self.nodes
