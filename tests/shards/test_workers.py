import os
import signal

import pytest

from pipeline.artifact.files import ArtifactError
from pipeline.shards.workers import run_jobs


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_jobs(workers):
    assert list(run_jobs(abs, [-3, 2, -1, 0], workers)) == [3, 2, 1, 0]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_job_raises_reaches_the_caller(workers):
    with pytest.raises(ValueError, match="invalid literal"):
        list(run_jobs(int, ["1", "x"], workers))


def test_a_killed_process_is_an_error_with_a_sentence():
    with pytest.raises(ArtifactError, match="worker process was killed"):
        list(run_jobs(os._exit, [signal.SIGKILL, signal.SIGKILL], 2))
