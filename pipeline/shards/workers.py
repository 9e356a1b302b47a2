"""The same work for many jobs, here or in several processes, with results in the order of the jobs."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from pipeline.artifact.files import ArtifactError

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """Do the work for every job. Raises what the work raises, or ArtifactError if a process was killed."""
    count = min(workers, len(jobs))
    if count <= 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
    try:
        with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
            yield from pool.map(work, jobs)
    except BrokenProcessPool:
        raise ArtifactError(
            "a worker process was killed, most likely for lack of memory; run again with fewer workers"
        ) from None


def _end_with_parent() -> None:
    """Let a worker end when the process that started it was killed, rather than wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
