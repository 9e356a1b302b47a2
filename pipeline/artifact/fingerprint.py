"""The fingerprint of an artifact: its settings, its code and the content of its inputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.canonical import digest
from pipeline.artifact.code import code_digest
from pipeline.artifact.files import ArtifactError, sha256_of
from pipeline.artifact.manifest import FILE_ROLE, Manifest, Source


@dataclass(frozen=True)
class Identity:
    """Everything that decides an artifact's content. How it is computed (GPUs, workers, paths) is not in it."""

    step: str
    settings: Mapping[str, Any]
    code_files: Mapping[str, str]
    inputs: tuple[Source, ...]

    @property
    def code(self) -> str:
        """The digest of the step's import closure."""
        return code_digest(dict(self.code_files))

    @property
    def fingerprint(self) -> str:
        """What a finished artifact is compared by."""
        return digest({**self._made_of(), "code": self.code})

    @property
    def run(self) -> str:
        """What an unfinished run is continued by: the code may change under it, settings and inputs may not."""
        return digest(self._made_of())

    def fields(self) -> dict[str, Any]:
        """What the record of an artifact of this identity says of it."""
        return {
            "step": self.step,
            "fingerprint": self.fingerprint,
            "settings": dict(self.settings),
            "code": self.code,
            "code_files": dict(self.code_files),
            "inputs": self.inputs,
        }

    def _made_of(self) -> dict[str, Any]:
        inputs = [[source.role, source.artifact, source.content] for source in self.inputs]
        return {"step": self.step, "settings": dict(self.settings), "inputs": inputs}


def sources(inputs: Iterable[tuple[str, Artifact]], files: Sequence[Path] = ()) -> tuple[Source, ...]:
    """Describe input artifacts by role, name and content, and the user's own files by name and content.

    Whatever order the artifacts come in, and wherever the files lie. Raises ArtifactError if a file is missing.
    """
    artifacts = [source_of(role, one.manifest) for role, one in inputs]
    return (*sorted(artifacts, key=lambda source: (source.role, source.artifact)), *file_sources(files))


def source_of(role: str, manifest: Manifest) -> Source:
    """An artifact as an input of another."""
    return Source(role=role, artifact=manifest.name, content=manifest.content, fingerprint=manifest.fingerprint)


def file_sources(files: Sequence[Path]) -> tuple[Source, ...]:
    """Read the user's own files as inputs. Raises ArtifactError if one is missing."""
    return tuple(_source_of_file(number, path) for number, path in enumerate(files))


def _source_of_file(number: int, path: Path) -> Source:
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist; put it back, or take it out of the settings")
    content = sha256_of(path)
    return Source(role=FILE_ROLE, artifact=f"{number}:{path.name}", content=content, fingerprint=content)
