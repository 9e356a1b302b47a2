"""An artifact on disk: a folder, its manifest, and files that are checked before they are handed out."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.artifact.files import HASHED_BYTES, ArtifactError, inside, sha256_of
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
        """The path of one of its files, whole as the manifest says: by size, up to 1 GiB by SHA-256 too.

        Raises ArtifactError if the manifest does not name it, or if it is missing, short, long or altered.
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
        if entry.size <= HASHED_BYTES and _sha256(path, entry.size, path.stat().st_mtime_ns) != entry.sha256:
            raise ArtifactError(
                f"{path} has other bytes than when it was made (SHA-256); delete it and run the workflow again"
            )
        return path


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_of(path)
