"""A plan of 2,500 raw files stays small, with and without what an earlier run left."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import large_workspace, record_everything
from workspace import ROOT, Workspace, environment

MOST_BYTES = 200_000_000
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Starts a command from a small process: the peak of one that the tests start would be that of the tests."""


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return large_workspace(tmp_path)


def dry_run(workspace: Workspace) -> tuple[str, int]:
    """What a dry run with the Slurm profile prints, and its peak memory in bytes."""
    command = [*workspace.command("-n", "--quiet", "rules")]
    command[command.index(str(ROOT / "profiles" / "local"))] = str(ROOT / "profiles" / "slurm")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, env=environment(ROOT)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    output, _, peak = done.stdout.rpartition("peak ")
    return output + done.stderr, int(peak) * 1024


@pytest.mark.parametrize("recorded", [False, True], ids=["nothing was made", "everything was made"])
def test_a_plan_of_thousands_of_files_fits_a_laptop(large: Workspace, recorded: bool) -> None:
    if recorded:
        record_everything(large)
    output, peak = dry_run(large)
    assert ("Nothing to be done" in output) == recorded
    if not recorded:
        jobs = dict(re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE))
        assert jobs["download"] == jobs["tokenize"] == "52"
    assert peak < MOST_BYTES
