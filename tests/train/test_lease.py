"""One trainer at a time."""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.files import ArtifactError
from pipeline.train.lease import DEAD_AFTER_SECONDS, FORGOTTEN_AFTER_SECONDS, Lease, process_start, read_lease


def _write(folder: Path, **changed: Any) -> None:
    holder = {"host": platform.node(), "pid": os.getpid(), "process_start": "1", "job": None, "heartbeat": time.time()}
    (folder / "lease.json").write_text(json.dumps({**holder, **changed}))


def test_a_lease_names_its_holder_while_it_is_held(tmp_path: Path) -> None:
    with Lease(tmp_path) as lease:
        found = read_lease(tmp_path / "lease.json")
        assert found is not None
        assert (found["host"], found["pid"]) == (platform.node(), os.getpid())
        lease.require()
    assert not (tmp_path / "lease.json").exists()


def test_a_dead_process_is_taken_over_and_a_living_one_refused(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        _write(tmp_path, pid=process.pid, process_start=process_start(process.pid))
        words = f"process {process.pid} on .* is training this run; wait for it or end it"
        with pytest.raises(ArtifactError, match=words), Lease(tmp_path):
            pass
        process.kill()
        process.wait()
        with Lease(tmp_path):
            assert read_lease(tmp_path / "lease.json")["pid"] == os.getpid()  # type: ignore[index]


def test_another_process_with_the_number_of_a_dead_one_is_no_holder(tmp_path: Path) -> None:
    _write(tmp_path, process_start="1")
    with Lease(tmp_path):
        assert read_lease(tmp_path / "lease.json")["pid"] == os.getpid()  # type: ignore[index]
        assert read_lease(tmp_path / "lease.json")["process_start"] != "1"  # type: ignore[index]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not renew a lease within half a second counts as dead."""
    monkeypatch.setattr("pipeline.train.lease.DEAD_AFTER_SECONDS", 0.5)
    monkeypatch.setattr("pipeline.train.lease.LOOK_SECONDS", 0.02)


@pytest.mark.parametrize("clock", [-600, 0, 600])
@pytest.mark.usefixtures("quick")
def test_a_holder_on_another_host_whose_heartbeat_stands_still_is_taken_over_whatever_its_clock(
    tmp_path: Path, clock: float, capfd: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path, host="elsewhere", pid=1, job="4711", heartbeat=time.time() + clock)
    with Lease(tmp_path):
        assert read_lease(tmp_path / "lease.json")["pid"] == os.getpid()  # type: ignore[index]
    assert "process 1 on elsewhere, job 4711 was training this run; watching" in capfd.readouterr().err


@pytest.mark.parametrize("clock", [-600, 600])
@pytest.mark.usefixtures("quick")
def test_a_holder_on_another_host_whose_heartbeat_goes_on_is_refused(tmp_path: Path, clock: float) -> None:
    _write(tmp_path, host="elsewhere", pid=1, job="4711", heartbeat=time.time() + clock)
    beat = threading.Timer(0.1, lambda: _write(tmp_path, host="elsewhere", pid=1, job="4711"))
    beat.start()
    with pytest.raises(ArtifactError, match="process 1 on elsewhere, job 4711 is training"), Lease(tmp_path):
        pass
    beat.join()
    assert read_lease(tmp_path / "lease.json")["host"] == "elsewhere"  # type: ignore[index]


@pytest.mark.usefixtures("quick")
def test_a_run_that_its_holder_leaves_meanwhile_is_free(tmp_path: Path) -> None:
    _write(tmp_path, host="elsewhere", pid=1)
    leave = threading.Timer(0.1, (tmp_path / "lease.json").unlink)
    leave.start()
    with Lease(tmp_path):
        assert read_lease(tmp_path / "lease.json")["pid"] == os.getpid()  # type: ignore[index]
    leave.join()


@pytest.mark.usefixtures("quick")
def test_an_earlier_attempt_of_the_same_job_is_called_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    _write(tmp_path, host="elsewhere", pid=1, job="4711")
    with Lease(tmp_path):
        pass
    assert "process 1 on elsewhere, job 4711 (an earlier attempt of this job) was training" in capfd.readouterr().err


def test_a_lease_of_hours_ago_is_taken_over_at_once(tmp_path: Path) -> None:
    _write(tmp_path, host="elsewhere", pid=1, heartbeat=time.time() - 2 * FORGOTTEN_AFTER_SECONDS)
    begin = time.monotonic()
    with Lease(tmp_path):
        assert time.monotonic() - begin < DEAD_AFTER_SECONDS / 3


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"host": "a", "pid": "b", "heartbeat": 0}', '{"host": "a", "pid": 1}']
)
def test_a_lease_that_cannot_be_read_holds_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "lease.json").write_text(text)
    with Lease(tmp_path):
        assert read_lease(tmp_path / "lease.json")["pid"] == os.getpid()  # type: ignore[index]


def test_who_was_taken_for_dead_writes_nothing_any_more(tmp_path: Path) -> None:
    with Lease(tmp_path) as lease:
        _write(tmp_path, host="elsewhere", pid=1)
        with pytest.raises(ArtifactError, match="process 1 on elsewhere took this run over"):
            lease.require()
    assert read_lease(tmp_path / "lease.json")["host"] == "elsewhere"  # type: ignore[index]


def test_a_lost_lease_is_renewed_by_the_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.train.lease.HEARTBEAT_SECONDS", 0.02)
    with Lease(tmp_path):
        (tmp_path / "lease.json").unlink()
        for _ in range(200):
            if read_lease(tmp_path / "lease.json"):
                break
            time.sleep(0.02)
        assert read_lease(tmp_path / "lease.json") is not None
