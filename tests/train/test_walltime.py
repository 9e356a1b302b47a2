"""Training leaves a Slurm job in time, and says so where there is none to begin with."""

import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.train.outcome import TrainingError
from pipeline.train.walltime import WallTime, end_of_job


def test_without_an_end_there_is_always_time() -> None:
    assert not WallTime(None, 1e9, 1e9).is_near()


def test_the_margin_and_a_save_have_to_fit() -> None:
    end = time.time() + 100
    assert not WallTime(end, 90).is_near()
    assert WallTime(end, 110).is_near()
    assert WallTime(end, 90, longest_save=10).is_near(), "of an earlier attempt"
    wall_time = WallTime(end, 90)
    wall_time.note_save(10)
    wall_time.note_save(1)
    assert wall_time.is_near()


def test_the_longest_step_so_far_has_to_fit_once_more() -> None:
    wall_time = WallTime(time.time() + 10.2, 9.5)
    wall_time.begin()
    assert not wall_time.is_near()
    time.sleep(0.4)
    assert wall_time.is_near(), "9.8 seconds are left, and 1.5 such steps take 0.6"


def test_the_time_before_the_first_step_is_none() -> None:
    wall_time = WallTime(time.time() + 10.2, 9.5)
    time.sleep(0.4)
    wall_time.begin()
    assert not wall_time.is_near()


def test_the_end_is_what_the_job_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1234567890")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert end_of_job() is None
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert end_of_job() == 1234567890.0


def test_slurm_that_does_not_answer_is_no_end_but_is_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("PATH", "")
    assert end_of_job() is None
    assert "Slurm does not tell when job 4711 ends (squeue" in capfd.readouterr().err


def test_a_job_too_short_for_a_step_is_refused_and_not_queued_for_ever(
    short_stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 60))
    with pytest.raises(TrainingError, match=r"not a single step would fit; give the job a longer wall time"):
        short_stage.train(tmp_path)
    assert not list(tmp_path.glob("run/step-*"))
