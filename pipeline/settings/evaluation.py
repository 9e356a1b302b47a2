"""How a stage is validated as it trains, evaluated at its end, and judged before the next one starts."""

from pydantic import Field

from pipeline.settings.base import Settings, execution

BATCH_ROWS = 8


class GateSettings(Settings):
    """What a stage must reach before the next one starts. Figures are those of the mixture, not of one domain."""

    below_unigram: bool = True
    """The stage's bits per byte must lie below those of the unigram model of its own training tokens."""
    max_bits_per_byte: float | None = Field(None, gt=0)
    """The most bits per byte the stage may end with. Null sets no such limit."""
    max_expert_violation: float | None = Field(None, gt=0)
    """The most that the busiest expert of any layer may exceed its layer's mean load (0.5 is 50 % more).
    Null sets no such limit."""


class EvaluationSettings(Settings):
    """The section `evaluation` of a stage.

    The intervals say how training is watched; the model does not depend on them. So changing them trains nothing again:
    a finished run keeps the validations that it was watched by.
    """

    interval_steps: int = execution(50, ge=0)
    """Validate every so many training steps, and after the last one. 0 validates after the last one only."""
    interval_rows: int = execution(16, gt=0)
    """How many validation rows of each domain a validation during training scores, from the first on."""
    rows: int | None = Field(None, gt=0)
    """How many validation rows of each domain the evaluation at the end scores, from the first on. Null scores all."""
    gate: GateSettings = GateSettings()
    """What the stage must reach before the next one starts."""
    batch_rows: int = execution(BATCH_ROWS, gt=0)
    """How many rows are scored at once: a matter of memory."""


class EvaluateStep(Settings):
    """What decides the content of `evaluate/<stage>`, beside its inputs."""

    rows: int | None = Field(None, gt=0)
    """How many validation rows of each domain are scored, from the first on. Null scores all."""
    gate: GateSettings = GateSettings()
    """What the stage must reach."""
