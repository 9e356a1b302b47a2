"""One whole run of a small workflow, shared by the tests that look at it."""

import pytest
from workspace import Workspace


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace after one whole run: look at it, copy it, never change it."""
    workspace = Workspace.create(tmp_path_factory.mktemp("finished") / "project")
    workspace.run()
    return workspace
