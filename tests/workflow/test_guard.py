"""An expensive finished run is not made again unasked, and the ways on work."""

import json
from pathlib import Path

import pytest
from workspace import CONFIG, STAGE, Workspace, finished_rules

from pipeline.artifact.manifest import MANIFEST, RECORD, read_manifest


@pytest.fixture
def expensive(finished: Workspace, tmp_path: Path) -> Workspace:
    """A finished project whose training took two hours, as its record says, and whose learning rate was changed."""
    workspace = finished.copy(tmp_path / "project")
    for name in (MANIFEST, RECORD):
        path = workspace.folder_of("train/small") / name
        plain = json.loads(path.read_text())
        plain["counts"]["seconds"] = 7200
        path.write_text(json.dumps(plain))
    workspace.write(CONFIG, {**STAGE, "training": {**STAGE["training"], "lr": 0.002}})
    return workspace


def test_a_stale_expensive_run_stops_before_anything_runs(expensive: Workspace) -> None:
    assert "train" in expensive.run("-n"), "the plan is shown all the same"
    assert "REFUSED" in expensive.tool("plan")
    before = expensive.inodes()
    output = expensive.run(fails=True)
    assert "train/small is finished and took 2.0 hours" in output
    assert "training.lr: 0.004 -> 0.002" in output
    assert "Traceback" not in output
    assert finished_rules(output) == []
    assert expensive.inodes() == before
    assert (expensive.folder_of("train/small") / MANIFEST).exists()


def test_an_accepted_run_is_kept_and_nothing_runs(expensive: Workspace) -> None:
    before = expensive.inodes()
    expensive.tool("accept", "train/small", "--reason", "the rate never mattered")
    assert "Nothing to be done" in expensive.run()
    assert expensive.inodes() == before
    trace = expensive.tool_without_configuration("trace", str(expensive.folder_of("train/small")))
    assert "the rate never mattered" in trace


def test_a_rebuild_that_is_asked_for_keeps_the_old_run_aside(expensive: Workspace) -> None:
    output = expensive.run("--config", "rebuild=train/small")
    assert "train" in finished_rules(output)
    assert read_manifest(expensive.folder_of("train/small") / MANIFEST).settings["training"]["lr"] == 0.002
    (aside,) = expensive.folder_of("train").glob("small.aside-*")
    assert read_manifest(aside / RECORD).counts["seconds"] == 7200
