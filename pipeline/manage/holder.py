"""Who is at work on an artifact or a run, asked without disturbing anyone."""

import fcntl
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifact.lock import lock_path
from pipeline.train.lease import DEAD_AFTER_SECONDS, LEASE, process_start, read_lease


@dataclass(frozen=True)
class Holder:
    """The process that holds a run directory's lease, or held it when it died."""

    host: str
    pid: int
    job: str | None
    """Its Slurm job."""
    alive: bool
    """By its process on this host, by the age of its heartbeat on another."""
    silent_seconds: float
    """Since its last heartbeat, by this host's clock."""

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"


def lease_holder(run: Path) -> Holder | None:
    """Who holds a run directory; None where there is no lease that can be read."""
    lease = read_lease(run / LEASE)
    if lease is None:
        return None
    silent = time.time() - lease["heartbeat"]
    if lease["host"] == platform.node():
        start = process_start(lease["pid"])
        alive = start is not None and start == lease.get("process_start")
    else:
        alive = silent < DEAD_AFTER_SECONDS
    return Holder(lease["host"], lease["pid"], lease.get("job"), alive, silent)


def lock_holder(results: Path, name: str) -> str | None:
    """Who makes an artifact now, such as `123 on node7`; None where nobody does.

    Asks for a shared lock without waiting and gives it back at once: a step that starts in between waits for that long.
    """
    try:
        with lock_path(results, name).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "?"
    except OSError:
        return None  # never made, or not to be read: then nobody can be named
    return None
