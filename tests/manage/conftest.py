"""A copy of the small project's results for each test, and its training as a process of its own."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from workplace import Workplace


@pytest.fixture(scope="session")
def all_made(small_project: Any) -> Any:
    """The small project with every artifact made."""
    for name in small_project.graph.nodes:
        small_project.make(name)
    return small_project


@pytest.fixture
def workplace(all_made: Any, tmp_path: Path) -> Workplace:
    """A copy of all artifacts."""
    shutil.copytree(all_made.results, tmp_path / "results", symlinks=True)
    return Workplace(all_made.graph.project, tmp_path / "results")
