"""What decides the content of the ladder and of a stage's report, beside their inputs."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.settings.base import Settings


class NextStage(Settings):
    """A stage that is to be predicted before it is trained."""

    name: str = Field(min_length=1)
    """What the stage is called."""
    flops: float = Field(gt=0)
    """Training compute: FLOPs per token times tokens."""


class LadderStep(Settings):
    """What decides the content of `ladder`."""

    next_stage: NextStage | None = None
    """The stage to predict from the finished ones. Null predicts the last stage at `growth` times its tokens."""
    growth: float = Field(2.0, gt=1)
    """How many times more tokens (and so compute) the prediction without a next stage is for."""
    seed: int = Field(0, ge=0)
    """Seed of the resampling that gives the intervals."""


class ReportStep(Settings):
    """What decides the content of `report/<stage>`."""

    stage: str = Field(min_length=1)
    """The stage, as titles name it."""
    smoothing: float = Field(0.02, gt=0, le=1)
    """The training loss is drawn beside its running mean over this share of the steps."""

    @model_validator(mode="after")
    def _stage_is_a_name(self) -> Self:
        if "/" in self.stage:
            raise ValueError(
                f"stage is {self.stage!r}; give its name alone, for instance {self.stage.split('/')[-1]!r}"
            )
        return self
