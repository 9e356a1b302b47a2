"""One training stage of the ladder: `config/stages/<stage>.json`."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.settings.base import Settings
from pipeline.settings.data import DataSettings
from pipeline.settings.distributed import DistributedSettings
from pipeline.settings.evaluation import EvaluationSettings
from pipeline.settings.model import ModelSettings
from pipeline.settings.training import TrainingSettings


class StageSettings(Settings):
    """A stage: its model, its data, its training, where that runs, and how the result is judged."""

    schema_path: str | None = Field(None, alias="$schema")
    """The JSON Schema of this file, for editors."""
    description: str = ""
    """What the stage is for, for people."""
    model: ModelSettings
    """The model's shape."""
    data: DataSettings
    """The mixture and the rows."""
    training: TrainingSettings
    """Budget, schedules, optimizer, precision, checkpoints."""
    distributed: DistributedSettings = DistributedSettings()
    """The engine and its layout."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Validation on the way, evaluation at the end, the gate."""

    @model_validator(mode="after")
    def _rows_fit_the_positions(self) -> Self:
        if self.data.seq_len > self.model.max_position_embeddings:
            raise ValueError(
                f"data.seq_len is {self.data.seq_len}, but model.max_position_embeddings is "
                f"{self.model.max_position_embeddings}; write a shorter row or more positions (and rope.yarn)"
            )
        return self

    @model_validator(mode="after")
    def _every_process_has_as_many_micro_batches(self) -> Self:
        training, size = self.training, self.distributed.data_parallel
        micro_batches = training.global_batch_size // training.micro_batch_size
        if micro_batches % size:
            fits = max(fewer for fewer in range(1, size) if micro_batches % fewer == 0)
            raise ValueError(
                f"distributed.data_parallel is {size}, but training.global_batch_size {training.global_batch_size} is "
                f"{micro_batches} micro-batches of training.micro_batch_size {training.micro_batch_size}, which "
                f"{size} processes cannot share evenly; write data_parallel {fits}, or a global_batch_size that "
                f"{training.micro_batch_size * size} divides"
            )
        return self

    @property
    def rows(self) -> int:
        """Training rows of the stage."""
        return self.training.rows(self.data.seq_len)
