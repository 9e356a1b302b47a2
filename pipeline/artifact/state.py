"""What the workflow can know of an artifact before running: cheap enough to ask at parse time."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifact.canonical import digest
from pipeline.artifact.files import ArtifactError
from pipeline.artifact.fingerprint import Identity, file_sources
from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import FILE_ROLE, MANIFEST, RECORD, Manifest, Source
from pipeline.artifact.publish import aside_folder, building_folder, declare
from pipeline.artifact.verify import damage, recorded


def files_known(files: Sequence[Path], record: Manifest | None, read: bool) -> tuple[Source, ...] | None:
    """The user's own files as inputs: read now, or, if their sizes and times are those of the record, as it says.

    None where they would have to be read and `read` is false: the step itself finds out.
    """
    try:
        if not files or read:
            return file_sources(files)
        if record is None or record.stamp != files_stamp(files):
            return None
    except (ArtifactError, OSError):
        return None
    return tuple(source for source in record.inputs if source.role == FILE_ROLE)


def files_stamp(files: Sequence[Path]) -> str:
    """Names, sizes and times of some files, as one digest: while it is the same they are not read again.

    Where they lie is not part of it. A false alarm (they were touched or copied) costs one reading.
    """
    stats = [(path.name, path.stat()) for path in files]
    return digest([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]) if stats else ""


def find_made(folder: Path, identity: Identity, hashed_bytes: int = 0) -> tuple[Path, Manifest] | None:
    """Where complete data of an identity are: in place, sealed but not yet swapped in, or set aside.

    Sizes are compared, and the contents of the first `hashed_bytes` bytes' worth of files.
    """
    places = (folder, building_folder(folder, identity.run), aside_folder(folder, identity.fingerprint))
    for place in places:
        record = recorded(place)
        if record and record.fingerprint == identity.fingerprint and not any(damage(place, record, hashed_bytes)):
            return place, record
    return None


def restore_manifest(results: Path, name: str) -> None:
    """Write a settled artifact's lost manifest again from its record, unless a process is at work on it."""
    folder = results / name
    if (folder / MANIFEST).exists() or not (folder / RECORD).exists():
        return
    # Results may be read-only: then it stays so.
    with contextlib.suppress(OSError), exclusive(results, name, wait=False):
        record = recorded(folder)
        if record is not None:
            declare(folder, record)
