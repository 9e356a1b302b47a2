"""One real Slurm for all tests that need it."""

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest
from cluster import Cluster, missing_programs

INSTALL = "apt-get install --no-install-recommends munge slurmctld slurmd slurm-client"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster, shared: cancel what you submitted, start again what you killed."""
    if missing := missing_programs():
        go_without(f"no {', '.join(missing)}: {INSTALL}")
    if os.geteuid() != 0:
        go_without("only root can start Slurm's daemons for jobs of any user: run the tests as root")
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


def go_without(reason: str) -> NoReturn:
    """Skip on a developer's machine; in continuous integration a test that silently never runs is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
