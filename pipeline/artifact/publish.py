"""From a private folder to an artifact: sealed by a record, swapped in by renames, declared by its manifest.

A kill at any moment leaves the old artifact or the new one, each whole; the same command then goes on from there:

    demo.building-<run>       being written; no record yet, or complete and about to be swapped in
    demo                      the artifact; `artifact.json` is its record, `manifest.json` declares it
    demo.aside-<fingerprint>  what it was before
"""

import shutil
import time
from pathlib import Path

from pipeline.artifact.files import is_temporary, sync_file, sync_folder
from pipeline.artifact.manifest import MANIFEST, RECORD, Entry, Manifest, write_manifest
from pipeline.artifact.verify import recorded

WORKING = "run"
"""Files below this folder are working data (logs, checkpoints on the way): never listed, never hashed."""
SHORT = 12


def building_folder(folder: Path, run: str) -> Path:
    """Where the data of a run are written before they become the artifact."""
    return folder.with_name(f"{folder.name}.building-{run[:SHORT]}")


def aside_folder(folder: Path, fingerprint: str) -> Path:
    """Where an artifact goes when another takes its place."""
    return folder.with_name(f"{folder.name}.aside-{fingerprint[:SHORT]}")


def listed_files(folder: Path) -> list[str]:
    """The files that make up an artifact, in order: no manifests, no working data, no leftovers of a kill."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and not is_temporary(path))
    return sorted(str(path) for path in found if path.parts[0] != WORKING and str(path) not in (MANIFEST, RECORD))


def entries(folder: Path) -> tuple[Entry, ...]:
    """Force an artifact's files to disk and measure them."""
    names = listed_files(folder)
    for name in names:
        sync_file(folder / name)
    for below in {(folder / name).parent for name in names}:
        sync_folder(below)
    return tuple(Entry.of(folder, name) for name in names)


def seal(building: Path, manifest: Manifest) -> None:
    """Record that a folder's data are complete."""
    write_manifest(building, RECORD, manifest)


def swap_in(sealed: Path, folder: Path, keep_replaced: bool) -> None:
    """Make a sealed folder the artifact. What stood there is removed, or kept aside if `keep_replaced`."""
    move_aside(folder)
    sealed.rename(folder)
    sync_folder(folder.parent)
    if not keep_replaced:
        for leftover in (
            *folder.parent.glob(f"{folder.name}.aside-*"),
            *folder.parent.glob(f"{folder.name}.building-*"),
        ):
            _remove(leftover)


def _remove(folder: Path) -> None:
    """Delete a folder; of a link to one (results may be spread over disks) also what it leads to."""
    shutil.rmtree(folder.resolve())
    if folder.is_symlink():
        folder.unlink()


def move_aside(folder: Path) -> None:
    """Free an artifact's place; its data stay beside it under another name."""
    if not folder.exists():
        return
    (folder / MANIFEST).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()  # made by Snakemake for the manifest to come
        return
    record = recorded(folder)
    aside = aside_folder(folder, record.fingerprint if record else "unrecorded")
    folder.rename(aside if not aside.exists() else aside.with_name(f"{aside.name}-{time.time_ns()}"))


def declare(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, the step's last act."""
    write_manifest(folder, MANIFEST, manifest)
