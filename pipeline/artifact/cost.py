"""What a step cost: time, memory, and the programs that ran."""

import importlib.metadata
import os
import platform
import resource
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pipeline.artifact.manifest import Manifest

REPORTED = (
    "torch", "numpy", "transformers", "tokenizers", "safetensors", "pyarrow", "pandas", "zarr", "gigatoken", "isal",
    "msgspec", "matplotlib", "deepspeed", "datasets",
)  # fmt: skip


EXPENSIVE_SECONDS = 3600.0
"""What took longer is not made again unasked."""


def seconds_taken(manifest: Manifest) -> float:
    """How long an artifact took. The cost is that of the last attempt; a step that resumes counts all of them."""
    return max(float(found.get("seconds", 0.0)) for found in (manifest.cost, manifest.counts))


class Meter:
    """Measures from its creation on."""

    def __init__(self) -> None:
        self._started = datetime.now(UTC)
        self._wall = time.perf_counter()
        self._cpu = _cpu_seconds()

    def read(self) -> dict[str, Any]:
        """Wall and CPU seconds (children that ended included), peak resident memory of the largest process."""
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return {
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._wall, 3),
            "cpu_seconds": round(_cpu_seconds() - self._cpu, 3),
            "peak_rss_mib": max(usage.ru_maxrss for usage in usages) // 1024,
            "host": platform.node(),
        }


def versions() -> dict[str, str]:
    """The versions of Python, of this package and of the libraries that steps use, whichever process loaded them."""
    found = {name: _version(name) for name in ("seekmake", *REPORTED)}
    return {"python": platform.python_version(), **{name: version for name, version in found.items() if version}}


@cache
def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
