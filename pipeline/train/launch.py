"""Several processes that train together: started here, on one machine or over the nodes of a Slurm job."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.artifact.files import write_atomic
from pipeline.settings.base import SettingsError
from pipeline.settings.distributed import DistributedSettings
from pipeline.train import node
from pipeline.train.offspring import start
from pipeline.train.outcome import result_of
from pipeline.train.signals import StopRequest
from pipeline.train.slurm import SlurmError, job_id, job_nodes
from pipeline.train.task import STOP, Task

POLL_SECONDS = 0.1


def launch(task: Task) -> dict[str, Any]:
    """Train with all processes of the task's layout and wait for them. Returns the counts of the first.

    A signal is handed on to them once; a second one ends this process, and they end with it. Raises SettingsError where
    the machines do not suit the layout, else what the processes' outcome says.
    """
    launcher, death = _launcher(task.layout)
    with StopRequest() as stop:
        path = task.write()
        command = [*launcher, sys.executable, "-m", node.__name__, str(path)]
        # A terminal's Ctrl-C is not for srun, which would not pass it on as it is.
        process = start(command, death, stdin=subprocess.DEVNULL, start_new_session=bool(launcher))
        try:
            _await(process, stop, path.parent / STOP)
        finally:
            process.send_signal(death)
            process.wait()
    return result_of(path.parent)


def _await(process: subprocess.Popen[bytes], stop: StopRequest, file: Path) -> None:
    handed_on = False
    while process.poll() is None:
        if stop.signal is not None and not handed_on:
            handed_on = True
            write_atomic(file, str(int(stop.signal)))
        time.sleep(POLL_SECONDS)


def _launcher(layout: DistributedSettings) -> tuple[list[str], signal.Signals]:
    """What starts the command on each node, and the signal that ends it with this process.

    Raises SettingsError where there are no such nodes.
    """
    if layout.nodes == 1:
        return [], signal.SIGKILL
    _require_nodes(layout)
    nodes = [f"--nodes={layout.nodes}", f"--ntasks={layout.nodes}", "--ntasks-per-node=1"]
    # Unbound, for a node's one task starts all processes of the node; at SIGKILL srun would leave its tasks behind.
    return ["srun", *nodes, "--cpu-bind=none", "--kill-on-bad-exit=1"], signal.SIGTERM


def _require_nodes(layout: DistributedSettings) -> None:
    wanted = (
        f"distributed.data_parallel: {layout.world_size} processes, {layout.processes_per_node} on a node "
        f"(processes_per_node), need {layout.nodes} nodes"
    )
    ways_out = f"write data_parallel {layout.processes_per_node} or less"
    job = job_id()
    if job is None:
        raise SettingsError(f"{wanted}, but this is no Slurm job; run the workflow with profiles/slurm, or {ways_out}")
    try:
        there = job_nodes(job)
    except SlurmError as error:
        raise SettingsError(f"{wanted}, but Slurm does not tell how many job {job} has ({error}); {ways_out}") from None
    if there != layout.nodes:
        raise SettingsError(
            f"{wanted}, but job {job} has {there}; ask for as many (resource nodes of rule train), or {ways_out}"
        )
