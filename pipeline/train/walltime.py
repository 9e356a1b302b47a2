"""The wall time of a Slurm job: stop in time, so that the next job continues."""

import sys
import time

from pipeline.train.slurm import SlurmError, job_end, job_id

SAFETY = 1.5
"""The next step and save may take so many times longer than the longest so far."""


class WallTime:
    """Whether another step and the save after it still fit before the job's time is over."""

    def __init__(self, end: float | None, margin_seconds: float, longest_save: float = 0.0) -> None:
        """`end` is in seconds since 1970, None without a limit; `longest_save` is that of earlier attempts."""
        self._end = end
        self._margin = margin_seconds
        self._longest_save = longest_save
        self._longest_step = 0.0
        self._last_look = time.monotonic()

    def note_save(self, seconds: float) -> None:
        """Remember how long saving took."""
        self._longest_save = max(self._longest_save, seconds)

    def begin(self) -> None:
        """The first step starts now."""
        self._last_look = time.monotonic()

    def is_near(self) -> bool:
        """To be asked between steps: the time since it was last asked counts as one, with all that was done between."""
        now = time.monotonic()
        self._longest_step = max(self._longest_step, now - self._last_look)
        self._last_look = now
        return self._end is not None and self.seconds_left() < self._needed()

    def seconds_left(self) -> float:
        """The time until the job's end."""
        return float("inf") if self._end is None else self._end - time.time()

    def _needed(self) -> float:
        return self._margin + SAFETY * (self._longest_save + self._longest_step)


def end_of_job() -> float | None:
    """When this job's time is over, in seconds since 1970; None outside a job and without a limit."""
    job = job_id()
    if job is None:
        return None
    try:
        return job_end(job)
    except SlurmError as error:
        print(f"Slurm does not tell when job {job} ends ({error}): training will not stop before that", file=sys.stderr)
        return None
