"""One process at a time on an artifact. The kernel frees the lock when its holder dies, however it dies."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lock_path(results: Path, name: str) -> Path:
    """The file whose lock guards an artifact."""
    return results / ".locks" / f"{name.replace('/', '.')}.lock"


@contextmanager
def exclusive(results: Path, name: str, wait: bool = True) -> Iterator[None]:
    """Hold the artifact `name` while the block runs; wait, and say so, while another process holds it.

    Without `wait` another holder raises BlockingIOError instead.

    An orchestrator that was killed leaves its jobs running: the next one waits for them here and finds their work done.
    """
    path = lock_path(results, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            file.seek(0)
            print(f"{name}: process {file.read().strip() or '?'} is making it; waiting for that one", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield
