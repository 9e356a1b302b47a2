"""What a training run wrote as it went: one row a step, and the validations between."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError
from pipeline.evaluate.layout import METRICS, VALIDATION


@dataclass(frozen=True)
class Curve:
    """A figure over a training run."""

    step: np.ndarray
    tokens: np.ndarray
    value: np.ndarray

    def after(self, step: int) -> "Curve":
        """The part from a step on."""
        kept = self.step >= step
        return Curve(self.step[kept], self.tokens[kept], self.value[kept])


def read_metrics(train: Artifact) -> pa.Table:
    """The table of a run's steps, in order. Raises ArtifactError if it lacks a column that reports need."""
    return _read(train, METRICS, ("step", "tokens", "loss", "next_token", "lr"))


def read_validation(train: Artifact) -> pa.Table:
    """The table of a run's validations: one row for each domain and time."""
    return _read(train, VALIDATION, ("step", "tokens", "domain", "nats_per_token", "bits_per_byte"))


def curve(table: pa.Table, figure: str) -> Curve:
    """One column over the run; what is not finite (a skipped step's loss) is left out."""
    value = table[figure].to_numpy().astype(np.float64)
    kept = np.isfinite(value)
    return Curve(table["step"].to_numpy()[kept], table["tokens"].to_numpy()[kept], value[kept])


def of_domain(validation: pa.Table, domain: str) -> pa.Table:
    """A domain's rows, in order."""
    return validation.filter(pc.equal(validation["domain"], domain)).sort_by("step")


def warmup_end(metrics: pa.Table) -> int:
    """The first step at the highest learning rate."""
    return int(metrics["step"][int(np.argmax(metrics["lr"].to_numpy()))].as_py())


def _read(train: Artifact, name: str, columns: tuple[str, ...]) -> pa.Table:
    table = pq.read_table(train.path(name))
    missing = sorted(set(columns) - set(table.column_names))
    if missing:
        raise ArtifactError(f"{train.name}: {name} has no column {', '.join(missing)}; run the stage again")
    return table.sort_by("step")
