"""The verdict of a stage's gate, as the next stage reads it. Apart from `gate`, so that a step that only reads it does not depend on how it is reached."""

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError


def require_passed(evaluation: Artifact) -> None:
    """Hold the next stage back. Raises ArtifactError with the reasons if the stage before did not pass its gate."""
    gate = evaluation.manifest.counts.get("gate")
    if not isinstance(gate, dict) or "passed" not in gate:
        raise ArtifactError(f"{evaluation.name}: its manifest holds no gate; run its step again")
    if not gate["passed"]:
        raise ArtifactError(
            f"{evaluation.name} did not pass its gate: {'; '.join(gate['reasons'])}. "
            "Train it longer, or lower `evaluation.gate` of that stage if this is good enough to go on"
        )
