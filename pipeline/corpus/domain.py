"""Which domain a block is of."""

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError


def domain_of(block: Artifact) -> str:
    """The domain of a block, from its name `raw/<domain>/<block>` or `tokens/<domain>/<block>`.

    Raises ArtifactError if the artifact is no such block.
    """
    parts = block.name.split("/")
    if len(parts) != 3 or parts[0] not in ("raw", "tokens"):
        raise ArtifactError(
            f"{block.name} is no block of a domain: these are raw/<domain>/<block> and tokens/<domain>/<block>"
        )
    return parts[1]
