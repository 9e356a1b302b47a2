"""The processes of a cluster's jobs, which Slurm itself does not always end."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

Choice = Callable[[Mapping[str, str], Path], bool]
"""Whether a process with this environment and this working folder is meant."""


def kill_processes(chosen: Choice) -> None:
    """Kill -9 the chosen processes, and look again until none is left: one may have started another."""
    while processes := [process for process in psutil.process_iter() if _is_chosen(process, chosen)]:
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=2)


def _is_chosen(process: psutil.Process, chosen: Choice) -> bool:
    try:
        ends = process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE
        return not ends and chosen(process.environ(), Path(process.cwd()))
    except psutil.Error:  # it ended meanwhile
        return False
