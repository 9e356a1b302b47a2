"""One trainer at a time in a run directory, also across hosts."""

import json
import os
import platform
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.artifact.files import ArtifactError, write_atomic

LEASE = "lease.json"
HEARTBEAT_SECONDS = 10.0
DEAD_AFTER_SECONDS = 90.0
"""A holder on another host counts as dead when its heartbeat does not change for so long."""
FORGOTTEN_AFTER_SECONDS = 3600.0
"""A heartbeat older than this is not waited for: no two hosts' clocks differ as much."""
LOOK_SECONDS = 1.0


class Lease:
    """Holds a run directory while the block runs. A dead holder's lease is taken over, a living one's is refused.

    Whether a holder on another host lives is seen by watching its heartbeat for a while: its node may have failed a
    moment ago, and clocks differ.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEASE
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._me = {
            "host": platform.node(),
            "pid": os.getpid(),
            "process_start": process_start(os.getpid()),
            "job": os.environ.get("SLURM_JOB_ID"),
        }

    def __enter__(self) -> Self:
        holder = read_lease(self._path)
        if holder and self._is_alive(holder):
            raise ArtifactError(
                f"{self._path.parent}: {_name(holder)} is training this run; "
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
                f"{self._path.parent}: {_name(taker)} took this run over while this process "
                "was not heard of; this one ends, the other goes on"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if not self._taker():
            self._path.unlink(missing_ok=True)

    def _is_alive(self, holder: dict[str, Any]) -> bool:
        """Whether a lease's holder still runs: by its process on this host, by its heartbeat on another."""
        if holder["host"] == self._me["host"]:
            start = process_start(holder["pid"])
            return start is not None and start == holder.get("process_start")
        if time.time() - holder["heartbeat"] > FORGOTTEN_AFTER_SECONDS:
            return False
        earlier = " (an earlier attempt of this job)" if holder.get("job") and holder["job"] == self._me["job"] else ""
        print(
            f"{self._path.parent}: {_name(holder)}{earlier} was training this run; "
            f"watching for up to {DEAD_AFTER_SECONDS:.0f} seconds whether it still does",
            file=sys.stderr,
            flush=True,
        )
        return self._changes(holder)

    def _changes(self, holder: dict[str, Any]) -> bool:
        """Whether the lease is renewed within the time that it takes to count as dead."""
        deadline = time.monotonic() + DEAD_AFTER_SECONDS
        while time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            if (now := read_lease(self._path)) != holder:
                return now is not None
        return False

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


def _name(holder: dict[str, Any]) -> str:
    job = f", job {holder['job']}" if holder.get("job") else ""
    return f"process {holder['pid']} on {holder['host']}{job}"


def process_start(pid: int) -> str | None:
    """When a process of this host began, in the kernel's ticks: tells it from a later one with the same number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
