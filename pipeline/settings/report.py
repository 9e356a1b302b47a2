"""What decides the content of the ladder and of a stage's report, beside their inputs."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.settings.base import Settings


class LadderStep(Settings):
    """What decides the content of `ladder`: its inputs alone, so nothing stands here."""


class ReportStep(Settings):
    """What decides the content of `report/<stage>`."""

    stage: str = Field(min_length=1)
    """The stage, as titles name it."""

    @model_validator(mode="after")
    def _stage_is_a_name(self) -> Self:
        if "/" in self.stage:
            raise ValueError(
                f"stage is {self.stage!r}; give its name alone, for instance {self.stage.split('/')[-1]!r}"
            )
        return self
