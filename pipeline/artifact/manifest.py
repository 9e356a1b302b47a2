"""The manifest: what a step made, of what, with what, and how to check it."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipeline.artifact.canonical import digest
from pipeline.artifact.files import ArtifactError, sha256_of, stays_inside, write_atomic

FORMAT = 2
MANIFEST = "manifest.json"
RECORD = "artifact.json"
"""The same bytes as the manifest, which Snakemake does not know and so never deletes."""
FILE_ROLE = "file"
"""The role of an input that is no artifact but one of the user's own files."""

WAY_OUT = "delete it and run its step again"


class Entry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size: int = Field(ge=0)
    sha256: str

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if not stays_inside(path):
            raise ValueError(f"the path {path!r} leaves its folder")
        return path

    @classmethod
    def of(cls, folder: Path, relative: str) -> "Entry":
        """Measure a file: its size and SHA-256."""
        path = folder / relative
        return cls(path=relative, size=path.stat().st_size, sha256=sha256_of(path))


class Source(BaseModel):
    """One input of an artifact: another artifact, by name and by content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    """What the step calls it, for instance `tokenizer`."""
    artifact: str
    """Its name below the results folder, for instance `tokens/wiki/0000`."""
    content: str
    """The digest of its files: what decides whether the step must run again."""
    fingerprint: str


class Acceptance(BaseModel):
    """One person's word that an artifact is good for an identity that it was not made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    who: str
    when: str
    why: str
    before: str
    """The fingerprint that the artifact had until then; empty where it was made elsewhere."""


class Manifest(BaseModel):
    """What a step made. Paths are relative to the manifest's folder and cannot leave it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    step: str
    name: str
    """The artifact's folder below the results folder, for instance `tokens/wiki/0000`."""
    fingerprint: str
    settings: dict[str, Any]
    code: str
    """Digest of the step's import closure."""
    code_files: dict[str, str]
    """Digest of each file of that closure, so that a change can be named."""
    inputs: tuple[Source, ...]
    files: tuple[Entry, ...]
    counts: dict[str, Any]
    """What the step counted and measured: documents, tokens, bad lines, tables."""
    cost: dict[str, Any]
    """Start, seconds of wall and CPU time, peak memory, host."""
    versions: dict[str, str]
    """The programs that made it."""
    stamp: str = ""
    """Sizes and times of the user's own files when they were read: what need not be read again."""
    accepted: tuple[Acceptance, ...] = ()
    """Who said that the artifact is good for another identity than it was made with, and why."""

    @property
    def content(self) -> str:
        """Digest of the files alone: equal content, whoever made it and when."""
        return digest([[entry.path, entry.size, entry.sha256] for entry in sorted(self.files, key=lambda e: e.path)])


def write_manifest(folder: Path, name: str, manifest: Manifest) -> None:
    """Write a manifest atomically."""
    write_atomic(folder / name, json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises ArtifactError if it is missing, broken, of another format, or names paths outside its folder; and OSError if
    it is there but cannot be read now.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(f"{path} does not exist; run the step that makes it") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is no JSON ({error}); {WAY_OUT}") from None
    written = data.get("format") if isinstance(data, dict) else None
    if written != FORMAT:
        raise ArtifactError(f"{path} has format {written!r}, this version reads {FORMAT}; {WAY_OUT}")
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ArtifactError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}; {WAY_OUT}") from None
