"""One trainer at a time in a run directory, also across hosts."""

import json
import os
import platform
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.artifact.files import ArtifactError, write_atomic

HEARTBEAT_SECONDS = 10.0
DEAD_AFTER_SECONDS = 90.0
"""A holder on another host counts as dead when its heartbeat is older than this."""


class Lease:
    """Holds a run directory while the block runs. A dead holder's lease is taken over, a living one's is refused.

    The clocks of hosts that share the directory agree within a minute.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lease.json"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._me = {
            "host": platform.node(),
            "pid": os.getpid(),
            "process_start": _process_start(os.getpid()),
            "job": os.environ.get("SLURM_JOB_ID"),
        }

    def __enter__(self) -> Self:
        holder = read_lease(self._path)
        if holder and is_alive(holder):
            job = f", job {holder['job']}" if holder.get("job") else ""
            raise ArtifactError(
                f"{self._path.parent}: process {holder['pid']} on {holder['host']}{job} is training this run; "
                "wait for it or end it, then start again: training continues from its last checkpoint"
            )
        self._write()
        self._thread.start()
        return self

    def require(self) -> None:
        """Make sure before writing that the run is still this process's: a stopped one may wake up after another began.

        Raises ArtifactError if it is not.
        """
        if taker := self._taker():
            raise ArtifactError(
                f"{self._path.parent}: process {taker['pid']} on {taker['host']} took this run over while this process "
                "was not heard of; this one ends, the other goes on"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if not self._taker():
            self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT_SECONDS) and not self._taker():
            with suppress(OSError):  # a full disk, say: the next beat may pass
                self._write()

    def _taker(self) -> dict[str, Any] | None:
        """Who holds the lease now, if not this process."""
        holder = read_lease(self._path)
        return holder if holder and any(holder.get(key) != value for key, value in self._me.items()) else None

    def _write(self) -> None:
        write_atomic(self._path, json.dumps({**self._me, "heartbeat": time.time()}))


def read_lease(path: Path) -> dict[str, Any] | None:
    """The lease in a file, or None if there is none that can be read."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    wanted = {"host": str, "pid": int, "heartbeat": int | float}
    whole = isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in wanted.items())
    return found if whole else None


def is_alive(lease: dict[str, Any]) -> bool:
    """Whether a lease's holder still runs: by its process on this host, by its heartbeat on another."""
    if lease["host"] == platform.node():
        start = _process_start(lease["pid"])
        return start is not None and start == lease.get("process_start")
    return bool(time.time() - lease["heartbeat"] < DEAD_AFTER_SECONDS)


def _process_start(pid: int) -> str | None:
    """When a process of this host began, in the kernel's ticks: tells it from a later one with the same number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
