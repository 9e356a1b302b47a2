"""Whether an artifact's files are still what its manifest says."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.artifact.files import ArtifactError, sha256_of
from pipeline.artifact.manifest import RECORD, Manifest, read_manifest


def damage(folder: Path, manifest: Manifest, hashed_bytes: int = 0) -> Iterator[tuple[str, str]]:
    """Each file that is not as the manifest says: its path and what is wrong with it.

    Sizes are always compared; contents of the first `hashed_bytes` bytes' worth of files as well. A file that is there
    but cannot be read raises OSError: that may pass, so nothing is made again for it.
    """
    budget = hashed_bytes
    real = folder.resolve()
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file():
            yield entry.path, "is missing"
        elif not path.resolve().is_relative_to(real):
            yield entry.path, "is a link that leads out of its folder"
        elif path.stat().st_size != entry.size:
            yield entry.path, f"has {path.stat().st_size} bytes, not {entry.size}"
        elif entry.size <= budget:
            budget -= entry.size
            if sha256_of(path) != entry.sha256:
                yield entry.path, "has other bytes than when it was made (SHA-256)"


def recorded(folder: Path) -> Manifest | None:
    """The record of a folder's complete data, or None if it holds none that can be trusted.

    A record that is there but cannot be read now raises OSError.
    """
    try:
        return read_manifest(folder / RECORD)
    except ArtifactError:
        return None
