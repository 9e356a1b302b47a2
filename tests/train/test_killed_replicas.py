"""Processes that train together are stopped and killed in every way, and end with the bytes of an undisturbed run."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.artifact.manifest import Manifest
from pipeline.settings.training import TrainStep


def contents(manifest: Manifest) -> dict[str, str]:
    return {entry.path: entry.sha256 for entry in manifest.files}


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def worker(process: subprocess.Popen[str], rank: int) -> psutil.Process:
    """The process of a rank below the one that was started."""
    return next(one for one in descendants(process) if one.environ().get("RANK") == str(rank))


def begun(attempts: Any) -> int:
    """How many attempts have begun to train."""
    return sum(row["event"] == "start" for row in attempts.history())


def kill_the_front(process: subprocess.Popen[str]) -> None:
    process.kill()


def kill_the_launcher(process: subprocess.Popen[str]) -> None:
    descendants(process)[0].kill()


def kill_the_first(process: subprocess.Popen[str]) -> None:
    worker(process, 0).kill()


@pytest.fixture(scope="module")
def settings(short_stage: Any) -> TrainStep:
    """With dropout, so that random numbers count."""
    found: TrainStep = short_stage.settings({"dropout": 0.1}, micro_batch_size=1)
    return found


@pytest.fixture(scope="module")
def undisturbed(attempts_at: Any, settings: TrainStep, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    found: Manifest = attempts_at(settings, tmp_path_factory.mktemp("whole"), 2).finish()
    return found


def test_a_killed_process_is_named_and_none_is_left_behind(
    attempts_at: Any, settings: TrainStep, undisturbed: Manifest, tmp_path: Path
) -> None:
    attempts = attempts_at(settings, tmp_path, 2)

    process = attempts.start()
    attempts.wait_until(process, lambda: attempts.steps() >= 4)
    worker(process, 1).kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "process 1 of 2 on" in said
    assert "was ended by SIGKILL (probably out of memory); run the same command again: it continues after step" in said
    assert "Traceback" not in said
    assert not attempts.sees("run/lease.json")

    kills = ((kill_the_front, -signal.SIGKILL), (kill_the_launcher, 1), (kill_the_first, 1))
    for number, (kill, code) in enumerate(kills, start=2):
        process = attempts.start()
        attempts.wait_until(process, lambda number=number: begun(attempts) == number)
        processes = descendants(process)
        assert len(processes) == 3
        kill(process)
        assert process.wait(timeout=60) == code
        assert not psutil.wait_procs(processes, timeout=30)[1], "they end with who started them"

    manifest = attempts.finish()
    assert contents(manifest) == contents(undisturbed)
    assert manifest.counts["processes"] == 2


def to_the_front(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)


def to_one_process(process: subprocess.Popen[str], number: signal.Signals) -> None:
    worker(process, 1).send_signal(number)


def to_all(process: subprocess.Popen[str], number: signal.Signals) -> None:
    os.killpg(process.pid, number)


def test_a_stop_that_any_of_them_hears_saves_once_and_goes_on_exactly(
    attempts_at: Any, settings: TrainStep, undisturbed: Manifest, tmp_path: Path
) -> None:
    attempts = attempts_at(settings, tmp_path, 2)
    stops: list[tuple[Callable[[subprocess.Popen[str], signal.Signals], None], signal.Signals, int]] = [
        (to_one_process, signal.SIGUSR1, 1),
        (to_all, signal.SIGINT, 4),
        (to_one_process, signal.SIGTERM, 7),
    ]
    for send, number, step in stops:
        process = attempts.start()
        attempts.wait_until(process, lambda step=step: attempts.steps() >= step)
        send(process, number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 128 + number, said
        assert said.count(f"stopped by {number.name} after step") == 1
        assert "Traceback" not in said
        stop, checkpoint = attempts.history()[-1], attempts.history()[-2]
        assert (stop["event"], stop["cause"], stop["saved"]) == ("stop", f"by {number.name}", True)
        assert (checkpoint["event"], checkpoint["step"]) == ("checkpoint", stop["step"])
    assert contents(attempts.finish()) == contents(undisturbed)


def test_the_wish_to_stop_is_handed_on_by_who_started_them(
    attempts_at: Any, settings: TrainStep, tmp_path: Path
) -> None:
    """Before they train, so that the one second between two looks at the file does not matter."""
    attempts = attempts_at(settings, tmp_path, 2)
    process = attempts.start()
    attempts.wait_until(process, lambda: attempts.sees("run/launch-*/task.json"))
    to_the_front(process, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM after step 1; saved" in said


def test_a_second_signal_ends_all_at_once(attempts_at: Any, settings: TrainStep, tmp_path: Path) -> None:
    attempts = attempts_at(settings, tmp_path, 2)
    process = attempts.start()
    attempts.wait_until(process, lambda: attempts.sees("run/launch-*/task.json") and len(descendants(process)) == 3)
    processes = descendants(process)
    for one in processes:
        one.suspend()
    to_the_front(process, signal.SIGTERM)
    attempts.wait_until(process, lambda: attempts.sees("run/launch-*/stop"))
    to_the_front(process, signal.SIGTERM)
    assert process.wait(timeout=60) == -signal.SIGTERM
    assert not psutil.wait_procs(processes, timeout=30)[1]


def test_training_stops_before_its_wall_time_and_the_next_attempt_continues(
    attempts_at: Any, short_stage: Any, undisturbed: Manifest, tmp_path: Path
) -> None:
    """A step of eight seconds (one process is held up) leaves no time for another. No Slurm can queue the job again."""
    checkpoints = {"interval_steps": 3, "keep_last": 2, "margin_seconds": 5}
    settings = short_stage.settings({"dropout": 0.1}, micro_batch_size=1, checkpoints=checkpoints)
    attempts = attempts_at(settings, tmp_path, 2)
    end = int(time.time()) + 25
    process = attempts.start(SLURM_JOB_ID="4711", SLURM_JOB_END_TIME=str(end), SLURM_RESTART_COUNT="3")
    attempts.wait_until(process, lambda: attempts.steps() >= 2)
    held_up = worker(process, 1)
    held_up.suspend()
    time.sleep(8)
    held_up.resume()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert time.time() < end
    assert "stopped before its wall time after step" in said
    assert "job 4711 cannot be queued again" in said
    start, stop = attempts.history()[0], attempts.history()[-1]
    assert (start["job"], start["restarts"]) == ("4711", 3)
    assert (stop["event"], stop["cause"]) == ("stop", "before its wall time")
    assert 2 <= stop["step"] < 12
    assert contents(attempts.finish()) == contents(undisturbed)
