"""The user's Slurm jobs of this folder: what waits in the queue, and what runs."""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.nodes import Node

ASK_SECONDS = 10
FRESH_SECONDS = 5.0
FORMAT = "%i|%T|%k|%R|%S|%Z"
"""Id, state, comment, reason or nodes, start (an estimate while it waits), work directory."""


@dataclass(frozen=True)
class Job:
    """One Slurm job."""

    id: str
    state: str
    """As Slurm calls it, for instance PENDING."""
    comment: str
    """As the executor of Snakemake writes it: the rule and its wildcards."""
    reason: str
    """Why it waits, or where it runs."""
    start: str
    """When it began or is expected to; empty where Slurm cannot say."""

    def __str__(self) -> str:
        when = f", starts about {self.start}" if self.start and self.state == "PENDING" else ""
        return f"job {self.id} {self.state.lower()} {self.reason}{when}"


def jobs_here(folder: Path) -> list[Job]:
    """The user's jobs that were started from `folder`; none where there is no Slurm, or it does not answer."""
    squeue = shutil.which("squeue")
    if squeue is None:
        return []
    command = [squeue, "--me", "-h", "-o", FORMAT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    rows = [line.split("|", 5) for line in done.stdout.splitlines() if line.count("|") >= 5]
    return [
        Job(number, state, comment, reason, "" if start == "N/A" else start)
        for number, state, comment, reason, start, work in rows
        if Path(work).resolve() == folder.resolve()
    ]


class Queue:
    """The jobs of a folder, asked for again when the last answer is a few seconds old."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked = float("-inf")
        self._jobs: list[Job] = []

    def jobs(self) -> list[Job]:
        """The jobs that wait or run."""
        if time.monotonic() - self._asked > FRESH_SECONDS:
            self._jobs = [job for job in jobs_here(self._folder) if job.state != "COMPLETING"]
            self._asked = time.monotonic()
        return self._jobs


def comment_of(node: Node) -> str:
    """What the executor of Snakemake writes to the job that makes an artifact."""
    wildcards = node.name.split("/")[1:]
    if node.step == "validation":
        wildcards = wildcards[:1]  # its rule is of the stage alone
    rule = f"rule_{node.step}"
    return f"{rule}_wildcards_{'_'.join(wildcards)}" if wildcards else rule
