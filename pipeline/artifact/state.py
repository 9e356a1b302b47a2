"""What the workflow can know of an artifact before running: cheap enough to ask at parse time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.canonical import digest
from pipeline.artifact.code import code_files
from pipeline.artifact.files import ArtifactError, sha256_of
from pipeline.artifact.fingerprint import Identity, sources
from pipeline.artifact.manifest import MANIFEST, RECORD
from pipeline.artifact.publish import declare
from pipeline.artifact.verify import damage, recorded

SMALL_BYTES = 64 << 20
"""Reading so much at parse time takes a tenth of a second."""


def is_settled(
    folder: Path,
    step: str,
    module: str,
    settings: Mapping[str, Any],
    inputs: Sequence[tuple[str, Path]],
    files: Sequence[Path] = (),
) -> bool:
    """Whether an artifact was made of these settings, this code and the present content of its inputs.

    Content decides, never the clock. The inputs are given as (role, folder); the caller sees to it that they are
    settled. Files that were lost since do not matter here: made again, they are the same (see `repairs_wanted`).
    The user's own files are read where they are small; large ones count as changed, and the step itself finds out.
    """
    try:
        record = recorded(folder)
        if record is None:
            return False
        if sum(path.stat().st_size for path in files) > SMALL_BYTES:
            return False
        known = sources(((role, Artifact.open(path / RECORD)) for role, path in inputs), files)
    except (ArtifactError, OSError):
        return False
    return Identity(step, settings, code_files(module), known).fingerprint == record.fingerprint


def files_stamp(files: Sequence[Path]) -> str:
    """What tells that the user's own files changed: their content where they are small, else their sizes and times.

    Where they lie is not part of it. A false alarm (large files, touched or copied) costs one reading of them.
    """
    stats = [path.stat() for path in files]
    if sum(stat.st_size for stat in stats) <= SMALL_BYTES:
        return digest([sha256_of(path) for path in files])
    return digest([[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in zip(files, stats, strict=True)])


def repairs_wanted(folder: Path) -> tuple[str, ...]:
    """What was repaired in an artifact so far and what is missing or short in it now (by size).

    Snakemake does not see an artifact's files. This text stands in the rule's `params`, so a lost file changes it, the
    rule runs, and the step records the text: afterwards both agree again.
    """
    record = recorded(folder)
    if record is None:
        return ()
    return (*record.repairs, *(f"{path} {what}" for path, what in damage(folder, record)))


def restore_manifest(folder: Path) -> None:
    """Write a settled artifact's lost manifest again from its record."""
    record = recorded(folder)
    if record is not None and not (folder / MANIFEST).exists():
        declare(folder, record)
