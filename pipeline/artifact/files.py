"""Files that are whole or absent: atomic writes, checksums, and paths that stay inside their folder."""

import hashlib
import os
from pathlib import Path, PurePosixPath

TEMPORARY = ".tmp"
HASHED_BYTES = 1 << 30
"""Where a check must take seconds, content is compared up to this much, and beyond it only sizes."""


class ArtifactError(ValueError):
    """An artifact that cannot be trusted or used. The message says which, why, and the way out."""


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a kill at any moment leaves the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def is_temporary(path: Path) -> bool:
    """Whether a file is what a killed `write_atomic` left behind."""
    return path.name.startswith(".") and path.name.endswith(TEMPORARY)


def sync_file(path: Path) -> None:
    """Force a written file to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


sync_folder = sync_file  # a folder's entries are forced to disk by the same call


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stays_inside(relative: str) -> bool:
    """Whether a relative path, as it is written, cannot leave the folder that it is joined to."""
    pure = PurePosixPath(relative)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts and not {"\\", "\0"} & set(relative)


def inside(folder: Path, relative: str) -> Path:
    """The path of `relative` in `folder`.

    Raises ArtifactError if it is absolute, has a `..`, or leads out of the folder by a link.
    """
    if not stays_inside(relative):
        raise ArtifactError(f"{folder}: the path {relative!r} leaves its folder; refuse the artifact that names it")
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ArtifactError(f"{folder}: {relative!r} is a link that leads out of its folder; put the file itself there")
    return path
