"""A run that is killed and stopped again and again, as its rule would start it, ends with the same bytes."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.manifest import MANIFEST, Manifest
from pipeline.settings.training import TrainStep

STAGE = "train/short"


def _contents(manifest: Manifest) -> dict[str, str]:
    return {entry.path: entry.sha256 for entry in manifest.files}


@pytest.fixture(scope="module")
def settings(short_stage: Any) -> TrainStep:
    """With dropout, so that random numbers count, and steps long enough to be interrupted."""
    found: TrainStep = short_stage.settings({"dropout": 0.1}, micro_batch_size=1)
    return found


@pytest.fixture(scope="module")
def uninterrupted(attempts_at: Any, settings: TrainStep, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    found: Manifest = attempts_at(settings, tmp_path_factory.mktemp("whole")).finish()
    return found


def test_a_killed_run_ends_with_the_same_bytes(
    attempts_at: Any, settings: TrainStep, uninterrupted: Manifest, tmp_path: Path
) -> None:
    attempts = attempts_at(settings, tmp_path)
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
    attempts_at: Any, settings: TrainStep, uninterrupted: Manifest, tmp_path: Path
) -> None:
    attempts = attempts_at(settings, tmp_path)
    code, said = attempts.interrupt(lambda: attempts.steps() >= 1, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM after step" in said
    assert "saved. Run the same command to continue" in said
    saved = attempts.history()[-1]
    assert (saved["event"], saved["cause"]) == ("stop", "by SIGTERM")
    assert attempts.sees(f"run/step-{saved['step']:09d}/complete.json")
    assert not attempts.sees("run/lease.json")
    assert attempts.interrupt_unheard(lambda: attempts.steps() >= 5, signal.SIGINT) == 128 + signal.SIGINT
    assert attempts.history()[-1]["event"] == "stop"
    manifest = attempts.finish()
    assert _contents(manifest) == _contents(uninterrupted)
