"""Files that are already on this machine: taken into the artifact as they are."""

import os
import shutil
from pathlib import Path

from pipeline.artifact.files import ArtifactError


def take_file(target: Path, path: Path, size: int) -> None:
    """Put a file into the artifact as `target`: linked where the file system allows it, else copied.

    Raises ArtifactError if the file is gone, or has another size than when the workflow was planned.
    """
    source = path.resolve()
    if not source.is_file():
        raise ArtifactError(f"{path} does not exist any more; put it back, or correct domains.<name>.paths")
    if source.stat().st_size != size:
        raise ArtifactError(
            f"{path} has {source.stat().st_size} bytes, it had {size} when the workflow was planned; "
            "wait until it is whole and run the workflow again"
        )
    _link_or_copy(source, target)


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, one without links, or a file of another user
        shutil.copyfile(source, target)
