"""A run that is killed and stopped again and again, as its rule would start it, ends with the same bytes."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.manifest import MANIFEST, Manifest
from pipeline.settings.training import TrainStep

STAGE = "train/short"


class Attempts:
    """Starts the same command again and again."""

    def __init__(self, stage: Any, settings: TrainStep, results: Path) -> None:
        self._command = stage.command(results, settings)
        self.results = results

    def start(self, stderr: Any = subprocess.PIPE) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(self._command, stderr=stderr, stdout=stderr, text=True, env=environment)

    def finish(self) -> Manifest:
        process = self.start()
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        return Artifact.open(self.results / STAGE / MANIFEST).manifest

    def interrupt(self, seen: Callable[[], bool], number: signal.Signals) -> tuple[int, str]:
        """Start, send a signal once something is seen, and return the exit code and what was said."""
        process = self.start()
        self._await(process, seen)
        process.send_signal(number)
        _, error = process.communicate(timeout=120)
        return process.returncode, error

    def interrupt_unheard(self, seen: Callable[[], bool], number: signal.Signals) -> int:
        """The same while nobody reads what is said any more, as where Ctrl-C has ended a `tee`."""
        reading, writing = os.pipe()
        process = self.start(stderr=writing)
        os.close(writing)
        self._await(process, seen)
        os.close(reading)
        process.send_signal(number)
        return process.wait(timeout=120)

    def steps(self) -> int:
        """How many steps are logged."""
        logs = list(self.results.glob(f"{STAGE}.building-*/run/metrics.jsonl"))
        return logs[0].read_text().count("\n") if logs else 0

    def sees(self, pattern: str) -> bool:
        """Whether something below the folder being built is there."""
        return any(self.results.glob(f"{STAGE}.building-*/{pattern}"))

    def history(self) -> list[dict[str, Any]]:
        (path,) = self.results.glob(f"{STAGE}*/run/history.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()]

    def _await(self, process: subprocess.Popen[str], seen: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not seen():
            assert process.poll() is None, "it ended before it was interrupted"
            assert time.monotonic() < deadline
            time.sleep(0.002)


def _contents(manifest: Manifest) -> dict[str, str]:
    return {entry.path: entry.sha256 for entry in manifest.files}


@pytest.fixture(scope="module")
def settings(short_stage: Any) -> TrainStep:
    """With dropout, so that the random state counts, and steps long enough to be interrupted."""
    found: TrainStep = short_stage.settings({"dropout": 0.1}, micro_batch_size=1)
    return found


@pytest.fixture(scope="module")
def uninterrupted(short_stage: Any, settings: TrainStep, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return Attempts(short_stage, settings, tmp_path_factory.mktemp("whole")).finish()


def test_a_killed_run_ends_with_the_same_bytes(
    short_stage: Any, settings: TrainStep, uninterrupted: Manifest, tmp_path: Path
) -> None:
    attempts = Attempts(short_stage, settings, tmp_path)
    moments: list[Callable[[], bool]] = [
        lambda: attempts.sees("run/.step-000000003.partial"),  # while the first one is written
        lambda: attempts.steps() >= 11,  # after the last one
        lambda: attempts.sees("final/complete.json"),  # while the artifact's files are written
    ]
    for seen in moments:
        assert attempts.interrupt(seen, signal.SIGKILL)[0] == -signal.SIGKILL
        assert not (tmp_path / STAGE / MANIFEST).exists()
    manifest = attempts.finish()
    assert _contents(manifest) == _contents(uninterrupted)
    assert {"model.safetensors", "metrics.parquet", "validation.parquet"} < _contents(manifest).keys()
    assert manifest.content == uninterrupted.content
    assert manifest.counts["attempts"] == 4
    begins = [row["step"] for row in attempts.history() if row["event"] == "start"]
    assert begins == sorted(begins)
    assert begins[1] in (0, 3), "3 where the kill came a moment too late"
    assert begins[2:] == [9, 12]


def test_a_stopped_run_says_so_and_ends_with_the_same_bytes(
    short_stage: Any, settings: TrainStep, uninterrupted: Manifest, tmp_path: Path
) -> None:
    attempts = Attempts(short_stage, settings, tmp_path)
    code, said = attempts.interrupt(lambda: attempts.steps() >= 1, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM after step" in said
    assert "saved. Run the same command to continue" in said
    saved = attempts.history()[-1]
    assert (saved["event"], saved["signal"]) == ("stop", "SIGTERM")
    assert attempts.sees(f"run/step-{saved['step']:09d}/complete.json")
    assert not attempts.sees("run/lease.json")
    assert attempts.interrupt_unheard(lambda: attempts.steps() >= 5, signal.SIGINT) == 128 + signal.SIGINT
    assert attempts.history()[-1]["event"] == "stop"
    manifest = attempts.finish()
    assert _contents(manifest) == _contents(uninterrupted)
