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
    """Replicas that each see other rows."""
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
    threads: int = execution(0, ge=0)
    """CPU threads of a process; 0 takes what the rule was given. Another number can change the last bit of a result."""

    @model_validator(mode="after")
    def _one_process(self) -> Self:
        """What this version cannot do is refused here, by name, and never run silently otherwise."""
        if self.engine != "torch":
            raise ValueError(f"engine is {self.engine!r}, but this version trains with 'torch' only; write 'torch'")
        for key in ("data_parallel", "tensor_parallel", "pipeline_parallel", "expert_parallel"):
            if getattr(self, key) != 1:
                raise ValueError(f"{key} is {getattr(self, key)}, but this version trains in one process; write 1")
        if self.zero_stage or self.zero_offload:
            key = "zero_stage" if self.zero_stage else "zero_offload"
            raise ValueError(
                f"{key} is {getattr(self, key)}, but ZeRO shares state between processes and this version trains in "
                "one; write zero_stage 0 and zero_offload false"
            )
        return self
