"""How a stage is trained: budget, schedules, optimizer, precision, checkpoints."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.settings.base import Settings, execution
from pipeline.settings.model import ModelSettings


class Schedule(Settings):
    """The learning rate as a function of the tokens seen so far."""

    kind: Literal["cosine", "constant_then_cosine"] = "cosine"
    """`cosine` decays from the end of the warm-up on; `constant_then_cosine` (DeepSeek-V3) first holds the peak."""
    warmup_tokens: int = Field(0, ge=0)
    """Tokens of the linear rise from 0 to `lr`."""
    constant_tokens: int = Field(0, ge=0)
    """With `constant_then_cosine`: tokens at the peak after the warm-up."""
    decay_tokens: int | None = Field(None, ge=1)
    """Tokens of the decay; by default all that are left. After them the learning rate stays at its end."""
    final_fraction: float = Field(0.1, ge=0, le=1)
    """The end of the decay, as a fraction of `lr`."""

    @model_validator(mode="after")
    def _constant_belongs_to_its_kind(self) -> Self:
        if self.constant_tokens and self.kind == "cosine":
            raise ValueError(
                f"constant_tokens is {self.constant_tokens}, but kind is 'cosine', which has no constant part; "
                "write kind 'constant_then_cosine' or constant_tokens 0"
            )
        return self


class MTPWeight(Settings):
    """The weight of the multi-token prediction loss (DeepSeek-V3, section 4.2: 0.3, later 0.1)."""

    initial: float = Field(0.3, ge=0)
    """From the start."""
    final: float = Field(0.1, ge=0)
    """From `switch_fraction` of the stage's tokens on."""
    switch_fraction: float = Field(0.68, ge=0, le=1)
    """When the weight changes, as a fraction of the stage's tokens (DeepSeek-V3: 10 T of 14.8 T)."""


class Checkpoints(Settings):
    """When the state of training is saved, and how many saves are kept."""

    interval_steps: int = execution(100, ge=1)
    """Steps between two checkpoints."""
    keep_last: int = execution(2, ge=1)
    """How many of the newest are kept."""
    margin_seconds: int = execution(120, ge=0)
    """In a Slurm job: training saves and stops at least so long before the job's end, to continue in the next."""


class TrainingSettings(Settings):
    """The section `training` of a stage."""

    total_tokens: int = Field(ge=1)
    """Tokens that the stage trains on, rounded up to whole steps."""
    global_batch_size: int = Field(ge=1)
    """Rows of one optimizer step, over all processes."""
    micro_batch_size: int = execution(1, ge=1)
    """Rows of one forward and backward pass of one process; gradients are accumulated up to the global batch."""
    lr: float = Field(gt=0)
    """The peak learning rate."""
    schedule: Schedule = Schedule()
    """The learning rate's course."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's averages."""
    eps: float = Field(1e-8, gt=0)
    """AdamW's epsilon."""
    weight_decay: float = Field(0.1, ge=0)
    """Decay of matrices; norms and biases have none."""
    clip_grad_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this norm where it is larger."""
    mtp_weight: MTPWeight = MTPWeight()
    """The multi-token prediction loss."""
    bias_update_until_fraction: float = Field(1.0, ge=0, le=1)
    """Router biases are updated up to this fraction of the tokens (DeepSeek-V3 stops for the last 500 B of 14.8 T)."""
    use_bf16: bool = False
    """Compute in bfloat16, keep fp32 weights. Refused on a CPU, where it is slower."""
    use_fp8: bool = False
    """Compute in fp8."""
    gradient_checkpointing: bool = execution(False)
    """Recompute each layer in the backward pass instead of keeping its activations: less memory, more time."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Decides the initial weights and dropout."""
    max_skipped_steps: int = execution(10, ge=0)
    """Steps with a non-finite loss or gradient are skipped; more than so many in a row end training with an error."""
    checkpoints: Checkpoints = Checkpoints()
    """Saves on the way."""
    wandb_project: str | None = execution(None)
    """Send metrics to this Weights & Biases project too (needs `pip install 'seekmake[wandb]'`)."""

    @field_validator("betas")
    @classmethod
    def _averages(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas are {list(betas)}; each must be at least 0 and below 1, such as [0.9, 0.95]")
        return betas

    @field_validator("use_fp8")
    @classmethod
    def _refuse_fp8(cls, value: bool) -> bool:
        if value:
            raise ValueError("use_fp8 is true, but this version has no fp8 products; write use_bf16: true")
        return value

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> Self:
        if self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size is {self.micro_batch_size}, which does not divide global_batch_size "
                f"{self.global_batch_size}; choose a divisor of it"
            )
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        schedule = self.schedule
        needed = schedule.warmup_tokens + schedule.constant_tokens
        if needed > self.total_tokens:
            raise ValueError(
                f"schedule.warmup_tokens + schedule.constant_tokens is {needed}, more than total_tokens "
                f"{self.total_tokens}; shorten the warm-up or the constant part"
            )
        return self

    def steps(self, seq_len: int) -> int:
        """Optimizer steps of the stage."""
        return -(-self.total_tokens // (self.global_batch_size * seq_len))

    def rows(self, seq_len: int) -> int:
        """Training rows of the stage."""
        return self.steps(seq_len) * self.global_batch_size


class TrainStep(Settings):
    """What decides the content of `train/<stage>`, beside its inputs."""

    model: ModelSettings
    training: TrainingSettings
    seq_len: int = Field(ge=1)
    """Tokens of a row that are predicted."""
    switch_rows: int | None = None
    """Rows over which the Switch loss sees the load: a micro-batch. Only where that loss is used do they matter."""


def train_step(model: ModelSettings, training: TrainingSettings, seq_len: int) -> TrainStep:
    """What decides the content of a training run of these settings."""
    switch_rows = training.micro_batch_size if model.moe.router_aux_loss_weight > 0 else None
    return TrainStep(model=model, training=training, seq_len=seq_len, switch_rows=switch_rows)
