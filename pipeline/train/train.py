"""The step `train`: a stage's run, from its first row or its last checkpoint to its final weights.

This module needs no torch: it trains in this process, or starts the processes that train together and waits for them.
"""

import sys
from pathlib import Path
from typing import Any

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.settings.training import TrainStep
from pipeline.train.launch import launch
from pipeline.train.requeue import continue_in_the_next_job
from pipeline.train.signals import WALL_TIME, Stopped
from pipeline.train.slurm import SlurmError, has_gpus, job_id
from pipeline.train.task import Task
from pipeline.train.walltime import end_of_job


def train(settings: TrainStep, build: Build) -> dict[str, Any]:
    """Train a stage. Working data (checkpoints on the way, logs) go below `run/`; a rerun continues from there.

    Raises ArtifactError or SettingsError where the inputs or the machines do not fit, TrainingError where training
    cannot go on, Stopped where it was asked to stop or its wall time is near (it has saved then).
    """
    _refuse_a_closed_gate(build.execution.get("gate"))
    _refuse_a_job_without_gpus(build.execution.get("gres"))
    task = Task(settings, build, end_of_job())
    try:
        return _train(task)
    except Stopped as stopped:
        if stopped.reason == WALL_TIME and stopped.saved:  # else the next job would stand where this one began
            continue_in_the_next_job(task.folder, stopped.step)
        raise


def _train(task: Task) -> dict[str, Any]:
    if task.layout.world_size > 1:
        return launch(task)
    from pipeline.train.attempt import train_alone  # with torch, which who only starts processes does not need

    return train_alone(task)


def _refuse_a_closed_gate(manifest: str | None) -> None:
    if manifest is None:
        return
    verdict = Artifact.open(Path(manifest)).manifest.counts["gate"]
    if not verdict["passed"]:
        raise ArtifactError(
            f"the stage before did not pass its gate ({manifest}): {'; '.join(verdict['reasons'])}; "
            "train that stage longer, or change its evaluation.gate"
        )


def _refuse_a_job_without_gpus(gres: str | None) -> None:
    """A job that was to find its work done is given none, and must not train without them.

    `gres` is what a job that trains asks for.
    """
    job = job_id()
    try:
        if gres and job and not has_gpus(job):
            raise ArtifactError(
                f"Slurm job {job} was given no GPUs, for another job seemed to have trained this stage, but did not; "
                f"run the same command again: the next job asks for {gres}"
            )
    except SlurmError as error:
        print(f"Slurm does not tell whether job {job} has GPUs: {error}", file=sys.stderr)
