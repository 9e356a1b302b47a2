"""The processes of one node: `python -m pipeline.train.node TASK` starts them, waits, and ends all if one fails.

It does what torchrun does without restarts (the environment of the processes is the same), but needs no torch of its
own, leaves signals to those that train, and knows how each of them ended.
"""

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from pipeline.train import worker
from pipeline.train.offspring import start
from pipeline.train.outcome import LOST_OTHERS, TrainingError, write_death, write_error
from pipeline.train.signals import STOPPING
from pipeline.train.slurm import SlurmError, meeting_point, node_number
from pipeline.train.task import Task

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""Once a process failed, the others find out by themselves, or are ended after this time."""
CAUSE_SECONDS = 5.0
"""Where the cause lies on another node, that one has so long to tell it before this one's end ends all."""


def main(path: Path) -> int:
    """Start this node's processes and wait for all. Returns 0 if all ended well."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # Slurm sends them to all; those that train save first
    task = Task.read(path)
    try:
        workers = _start(task, path)
    except SlurmError as error:
        write_error(path.parent, TrainingError(f"the processes cannot meet: {error}"))
        return 1
    failed = _await(workers, path.parent, task.layout.world_size)
    if failed and all(code == LOST_OTHERS for code in failed):
        time.sleep(CAUSE_SECONDS)
    return int(bool(failed))


def _start(task: Task, path: Path) -> dict[int, subprocess.Popen[bytes]]:
    """The processes of this node by rank."""
    layout, node = task.layout, 0
    environment = dict(os.environ)
    if layout.nodes > 1:
        node = node_number()
        address, port = meeting_point()
    else:
        address, port = "localhost", _free_port()
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the name of this machine may lead elsewhere, or nowhere
    environment.update(
        WORLD_SIZE=str(layout.world_size),
        LOCAL_WORLD_SIZE=str(layout.processes_a_node),
        MASTER_ADDR=address,
        MASTER_PORT=str(port),
    )
    workers = {}
    for local in range(layout.processes_a_node):
        rank = node * layout.processes_a_node + local
        own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(local)}
        workers[rank] = start([sys.executable, "-m", worker.__name__, str(path)], env=own, stdin=subprocess.DEVNULL)
    return workers


def _await(workers: dict[int, subprocess.Popen[bytes]], folder: Path, size: int) -> list[int]:
    """Wait until all ended. Tells of the first that died without a word; returns the codes of those that failed."""
    deadline = float("inf")
    while any(one.poll() is None for one in workers.values()):
        if _tell_of_failures(workers, folder, size):
            deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
        if time.monotonic() > deadline:
            for one in workers.values():
                one.kill()
        time.sleep(POLL_SECONDS)
    return _tell_of_failures(workers, folder, size)


def _tell_of_failures(workers: dict[int, subprocess.Popen[bytes]], folder: Path, size: int) -> list[int]:
    """The codes of the processes that failed so far. Who was killed comes first: others may have died of that."""
    failed = {rank: one.returncode for rank, one in workers.items() if one.poll()}
    for rank in sorted(failed, key=lambda rank: (failed[rank] != -signal.SIGKILL, rank)):
        if failed[rank] != LOST_OTHERS:
            write_death(folder, rank, size, platform.node(), failed[rank])
    return list(failed.values())


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
