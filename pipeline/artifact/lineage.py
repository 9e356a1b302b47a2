"""From an artifact back to the raw files it was made of."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifact.files import ArtifactError, stays_inside
from pipeline.artifact.manifest import FILE_ROLE, MANIFEST, Manifest, Source, read_manifest


@dataclass(frozen=True)
class Ancestor:
    """One artifact, or one of the user's own files, of a lineage."""

    depth: int
    source: Source
    manifest: Manifest | None
    """What its folder holds now; None if it is no longer there, and for the user's own files."""

    @property
    def missing(self) -> bool:
        """Whether it was an artifact and is no longer there."""
        return self.manifest is None and self.source.role != FILE_ROLE

    @property
    def changed(self) -> bool:
        """Whether the artifact of this name holds other data now than those that were used."""
        return self.manifest is not None and self.manifest.content != self.source.content


def results_of(path: Path, manifest: Manifest) -> Path:
    """The results folder that an artifact's folder belongs to."""
    folder = Path(os.path.abspath(path))  # noqa: PTH100  # links are kept: results may be spread over disks
    parts = Path(manifest.name).parts
    if folder.parts[-len(parts) :] != parts:
        raise ArtifactError(f"{path} was made as {manifest.name!r}; put it back under that name to follow its lineage")
    return folder.parents[len(parts) - 1]


def trace(folder: Path) -> Iterator[Ancestor]:
    """The ancestors of the artifact in `folder`, depth first, each content of each once.

    Raises ArtifactError if a manifest on the way cannot be trusted.
    """
    manifest = read_manifest(folder / MANIFEST)
    yield from _ancestors(results_of(folder, manifest), manifest, 1, set())


def _ancestors(results: Path, manifest: Manifest, depth: int, seen: set[tuple[str, str]]) -> Iterator[Ancestor]:
    for source in manifest.inputs:
        if (source.artifact, source.content) in seen:
            continue
        seen.add((source.artifact, source.content))
        found = None if source.role == FILE_ROLE else _present(results, manifest, source)
        yield Ancestor(depth, source, found)
        if found is not None:
            yield from _ancestors(results, found, depth + 1, seen)


def _present(results: Path, manifest: Manifest, source: Source) -> Manifest | None:
    if not stays_inside(source.artifact):
        raise ArtifactError(
            f"{manifest.name}: its input {source.artifact!r} leaves the results folder; do not trust it"
        )
    path = results / source.artifact / MANIFEST
    return read_manifest(path) if path.exists() else None
