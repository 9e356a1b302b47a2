"""The finished stages of the ladder: what each cost and what it reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError


@dataclass(frozen=True)
class FinishedStage:
    """A trained and evaluated stage."""

    name: str
    train: Artifact
    parameters: int
    tokens: int
    flops: float
    """Training compute: FLOPs per token times tokens."""
    bits_per_byte: float
    """Of the mixture, on validation text."""
    bits_per_byte_error: float

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {name: value for name, value in vars(self).items() if name != "train"}


def finished_stages(trained: Sequence[Artifact], evaluated: Sequence[Artifact]) -> list[FinishedStage]:
    """Match evaluations with the runs they belong to, ordered by their compute.

    Raises ArtifactError if a run has no evaluation, or one of another checkpoint.
    """
    by_name = {_stage(evaluation): evaluation for evaluation in evaluated}
    if set(by_name) != {_stage(train) for train in trained}:
        raise ArtifactError(
            f"the runs {[train.name for train in trained]} and the evaluations {[e.name for e in evaluated]} "
            "are not of the same stages; give both of every stage"
        )
    found = [_finished(train, by_name[_stage(train)]) for train in trained]
    return sorted(found, key=lambda stage: (stage.flops, stage.name))


def require_evaluation_of(train: Artifact, evaluation: Artifact) -> None:
    """Raises ArtifactError unless the evaluation was made of this very checkpoint."""
    made_of = [source.content for source in evaluation.manifest.inputs if source.role == "train"]
    if made_of != [train.manifest.content]:
        raise ArtifactError(
            f"{evaluation.name} evaluates another checkpoint than {train.name} holds; evaluate it again"
        )


def _finished(train: Artifact, evaluation: Artifact) -> FinishedStage:
    require_evaluation_of(train, evaluation)
    counts, reached = train.manifest.counts, evaluation.manifest.counts["mixture"]
    return FinishedStage(
        name=_stage(train),
        train=train,
        parameters=counts["parameters"],
        tokens=counts["tokens"],
        flops=float(counts["flops_per_token"]) * counts["tokens"],
        bits_per_byte=reached["bits_per_byte"],
        bits_per_byte_error=reached["bits_per_byte_error"],
    )


def _stage(artifact: Artifact) -> str:
    return artifact.name.rpartition("/")[2]
