"""From an artifact back to the raw files it was made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifact.files import ArtifactError
from pipeline.artifact.manifest import MANIFEST, Manifest, Source, read_manifest


@dataclass(frozen=True)
class Ancestor:
    """One artifact of a lineage."""

    depth: int
    source: Source
    manifest: Manifest | None
    """None if it is no longer there."""

    @property
    def changed(self) -> bool:
        """Whether the artifact of this name holds other data now than those that were used."""
        return self.manifest is not None and self.manifest.content != self.source.content


def results_of(path: Path, manifest: Manifest) -> Path:
    """The results folder that an artifact's folder belongs to."""
    folder = path.resolve()
    parts = Path(manifest.name).parts
    if folder.parts[-len(parts) :] != parts:
        raise ArtifactError(f"{path} was made as {manifest.name!r}; put it back under that name to follow its lineage")
    return folder.parents[len(parts) - 1]


def trace(folder: Path) -> Iterator[Ancestor]:
    """The ancestors of the artifact in `folder`, depth first, each once, nearest first."""
    manifest = read_manifest(folder / MANIFEST)
    yield from _ancestors(results_of(folder, manifest), manifest, 1, set())


def _ancestors(results: Path, manifest: Manifest, depth: int, seen: set[str]) -> Iterator[Ancestor]:
    for source in manifest.inputs:
        if source.artifact in seen:
            continue
        seen.add(source.artifact)
        path = results / source.artifact / MANIFEST
        found = read_manifest(path) if path.exists() else None
        yield Ancestor(depth, source, found)
        if found is not None:
            yield from _ancestors(results, found, depth + 1, seen)
