"""Whether the inputs of a step belong together: every artifact that two of them know must be the same one."""

from collections.abc import Iterable

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError


def require_one_lineage(artifacts: Iterable[Artifact]) -> None:
    """Raises ArtifactError if two inputs, or what they were made of, name the same artifact with different data."""
    artifacts = list(artifacts)
    known = {artifact.name: (artifact.manifest.content, "as given") for artifact in artifacts}
    for artifact in artifacts:
        for source in artifact.manifest.inputs:
            content, where = known.setdefault(source.artifact, (source.content, f"of {artifact.name}"))
            if content != source.content:
                raise ArtifactError(
                    f"{artifact.name} was made of another {source.artifact} ({source.content[:12]}) than that {where} "
                    f"({content[:12]}); run the workflow again so that all have the same origin"
                )
