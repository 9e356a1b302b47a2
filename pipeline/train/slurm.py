"""What Slurm knows of the job that training runs in. Asked by its commands: the environment may not say it.

In a job of several nodes Snakemake's executor takes every SLURM_* variable but SLURM_JOB_ID out of the environment; in
a task of `srun` all of them are there.
"""

import os
import socket
import subprocess
from datetime import datetime

ASK_SECONDS = 60
FIRST_PORT, PORTS = 15000, 15000
"""Ports for the processes of a job to meet: below those that Linux hands out by itself (32768 on)."""


class SlurmError(Exception):
    """Slurm did not do what it was asked. The message is Slurm's own."""


def job_id() -> str | None:
    """The Slurm job that this process is in."""
    return os.environ.get("SLURM_JOB_ID")


def job_end(job: str) -> float | None:
    """When the time of a job is over, in seconds since 1970; None where it has no end. Raises SlurmError."""
    told = os.environ.get("SLURM_JOB_END_TIME", "")
    if told.isdigit():
        return float(told)
    text = _told_of(job, "EndTime")
    try:
        return datetime.fromisoformat(text).timestamp()  # without a zone: the local time of this machine
    except ValueError:
        return None  # N/A or NONE: no limit


def job_nodes(job: str) -> int:
    """How many nodes a job has. Raises SlurmError."""
    return int(_told_of(job, "NumNodes"))


def restarts() -> int:
    """How often Slurm has started this process's job again; 0 outside a job, and where Slurm does not tell."""
    if told := os.environ.get("SLURM_RESTART_COUNT"):
        return int(told)
    job = job_id()
    try:
        return int(_told_of(job, "RestartCnt")) if job else 0
    except (SlurmError, ValueError):
        return 0


def has_gpus(job: str) -> bool:
    """Whether a job was given GPUs, or other generic resources. Raises SlurmError."""
    return _told_of(job, "tres-per-node") not in ("", "N/A", "(null)")


def requeue(job: str) -> None:
    """Have a running job ended and queued again. Raises SlurmError where that is not allowed."""
    _ask("scontrol", "requeue", job)


def node_number() -> int:
    """The number of this task's node in its step; the step has one task a node."""
    return int(os.environ["SLURM_NODEID"])


def meeting_point() -> tuple[str, int]:
    """Where the processes of this step meet: address and port on its first node. Raises SlurmError."""
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ["SLURM_JOB_NODELIST"]
    first = _ask("scontrol", "show", "hostnames", nodes).split()[0]
    number = int(os.environ["SLURM_JOB_ID"]) * 16 + int(os.environ.get("SLURM_STEP_ID", "0"))
    return _address(first), FIRST_PORT + number % PORTS


def _address(node: str) -> str:
    """A node's name, or, where the network does not know that, its address in Slurm's configuration."""
    try:
        socket.getaddrinfo(node, None)
    except socket.gaierror:
        fields = dict(field.partition("=")[::2] for field in _ask("scontrol", "show", "node", node).split())
        return fields["NodeAddr"]
    return node


def _told_of(job: str, field: str) -> str:
    """One field of a job, as squeue calls it."""
    return _ask("squeue", "--noheader", "--jobs", job, "--Format", field).strip()


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmError(f"{command[0]}: {error}") from None
    if done.returncode:
        raise SlurmError(done.stderr.strip() or f"{command[0]} ended with exit code {done.returncode}")
    return done.stdout
