"""A job whose time is over before its work: Slurm starts it again."""

import sys
import time
from pathlib import Path

from pipeline.train.history import record
from pipeline.train.slurm import SlurmError, job_id, requeue

ENDED_WITHIN_SECONDS = 90
"""Slurm ends a job that it has queued again by SIGTERM, and 30 seconds later (KillWait) by SIGKILL."""


def continue_in_the_next_job(folder: Path, step: int) -> None:
    """Have this job queued again, and wait to be ended by Slurm, so that it does not count as a failure.

    Returns where that is not to be had; then the exit code has to say that the work is not done.
    """
    job = job_id()
    assert job is not None, "only a job has a wall time"
    try:
        requeue(job)
    except SlurmError as error:
        _say(f"job {job} cannot be queued again ({error}); start it again, and it continues after step {step}")
        return
    record(folder, "requeue", step)
    _say(f"job {job} is queued again and will continue after step {step}")
    time.sleep(ENDED_WITHIN_SECONDS)


def _say(text: str) -> None:
    print(f"train: {text}", file=sys.stderr, flush=True)
