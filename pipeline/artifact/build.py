"""What a step is given to build with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifact.artifact import Artifact


@dataclass(frozen=True)
class Build:
    """One run of a step: where to write, what to read, how to compute."""

    folder: Path
    """Write the artifact's files below this folder; it becomes the artifact when the step returns."""
    inputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    """The artifacts to read, by role."""
    files: tuple[Path, ...] = ()
    """The user's own files to read."""
    execution: Mapping[str, Any] = field(default_factory=dict)
    """How to compute: workers, device. Never decides content."""
    code: str = ""
    """The digest of the step's code: a run that outlasts a change of it notes both."""
    kept: frozenset[str] = frozenset()
    """Files of the same fingerprint that are already in the folder, whole and verified: leave them as they are."""

    def one(self, role: str) -> Artifact:
        """The single input of a role."""
        (artifact,) = self.inputs[role]
        return artifact

    @property
    def workers(self) -> int:
        """How many processes or threads the step may use."""
        return int(self.execution.get("workers", 1))
