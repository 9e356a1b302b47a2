"""An artifact on disk: a folder, its manifest, and files that are checked before they are handed out."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.artifact.files import ArtifactError, inside
from pipeline.artifact.manifest import Manifest, read_manifest


@dataclass(frozen=True)
class Artifact:
    """A finished artifact that a step reads."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, manifest: Path) -> "Artifact":
        """Open the artifact of a manifest file. Raises ArtifactError if the manifest cannot be trusted."""
        return cls(manifest.parent, read_manifest(manifest))

    @property
    def name(self) -> str:
        """Its name below the results folder."""
        return self.manifest.name

    def paths(self, prefix: str = "", suffix: str = "") -> list[str]:
        """The relative paths of its files that begin and end so, in order."""
        found = (entry.path for entry in self.manifest.files)
        return sorted(path for path in found if path.startswith(prefix) and path.endswith(suffix))

    def path(self, relative: str) -> Path:
        """The path of one of its files, whole as the manifest says (by size).

        Raises ArtifactError if the manifest does not name it, or if it is missing, short or long.
        """
        entry = next((entry for entry in self.manifest.files if entry.path == relative), None)
        if entry is None:
            raise ArtifactError(f"{self.name}: its manifest names no file {relative!r}")
        path = inside(self.folder, relative)
        if not path.is_file():
            raise ArtifactError(f"{path} is missing; run the workflow again to make it again")
        if path.stat().st_size != entry.size:
            raise ArtifactError(
                f"{path} has {path.stat().st_size} bytes, its manifest says {entry.size}; run the workflow again"
            )
        return path
