"""Whatever ends a training job on Slurm, the same command ends with the weights of a run that nothing disturbed."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from submitting import Submitting
from workspace import Workspace

from pipeline.artifact.manifest import MANIFEST, read_manifest

SLOW: dict[str, Any] = {"hidden_size": 256, "num_layers": 6, "intermediate_size": 512}
"""A model that trains for a quarter of a minute: long enough to be caught at it."""
CHECKPOINTS: dict[str, Any] = {"interval_steps": 4, "keep_last": 2, "margin_seconds": 5}


class Training(Submitting):
    """A stage that is trained by jobs of Slurm, its rows made already."""

    def history(self, event: str) -> list[dict[str, Any]]:
        """What the run's history tells of one kind of event."""
        lines = [path.read_text() for path in self.results.glob("train/small*/run/history.jsonl")]
        rows = [json.loads(line) for text in lines for line in text.splitlines()]
        return [row for row in rows if row["event"] == event]

    def steps(self) -> list[int]:
        """The steps between which attempts began."""
        return [row["step"] for row in self.history("start")]

    def checkpoint(self, beyond: int = 0) -> int:
        """The step of a checkpoint, once one beyond this is written."""
        self.cluster.until(
            lambda: any(row["step"] > beyond for row in self.history("checkpoint")), 120, f"a checkpoint after {beyond}"
        )
        return int(self.history("checkpoint")[-1]["step"])

    def finish(self) -> None:
        """The same command again."""
        self.run("--until", "train")

    def weights(self) -> str:
        """The SHA-256 of the trained weights and of the final checkpoint."""
        files = read_manifest(self.folder_of("train/small") / MANIFEST).files
        return " ".join(sorted(entry.sha256 for entry in files if entry.path.endswith(".safetensors")))


def prepare(finished: Workspace, folder: Path, cluster: Cluster, processes: int = 1) -> Training:
    layout = {"data_parallel": processes, "processes_per_node": processes}
    training = {"checkpoints": CHECKPOINTS, "micro_batch_size": 4}
    return Training.take(finished, folder, cluster, model=SLOW, training=training, distributed=layout)


@pytest.fixture(scope="module")
def undisturbed(
    cluster: Cluster, finished: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], str]:
    """The weights that so many processes train when nothing happens to them."""
    found: dict[int, str] = {}

    def weights(processes: int) -> str:
        if processes not in found:
            workspace = prepare(finished, tmp_path_factory.mktemp("undisturbed") / "project", cluster, processes)
            workspace.finish()
            found[processes] = workspace.weights()
        return found[processes]

    return weights


@pytest.fixture
def training(cluster: Cluster, finished: Workspace, tmp_path: Path) -> Training:
    return prepare(finished, tmp_path / "project", cluster)


def disturb(training: Training, harm: Callable[[dict[str, str]], None]) -> tuple[str, int]:
    """Start training, do harm to its job after a checkpoint, and wait. Returns what was printed and that step."""
    process = training.start("--until", "train")
    job = training.running("train")
    step = training.checkpoint()
    harm(job)
    output, _ = process.communicate(timeout=300)
    if process.returncode:
        training.finish()
    return output, step


def require_continued(training: Training, step: int) -> None:
    """No step was done twice but those that were lost since the last checkpoint."""
    first, *later = training.steps()
    assert first == 0
    assert later, "the run was disturbed"
    assert all(begun >= step for begun in later)


def test_a_cancelled_job_is_tried_again_and_continues(training: Training, undisturbed: Callable[[int], str]) -> None:
    _, step = disturb(training, lambda job: training.cluster.cancel(job["JobId"]))
    require_continued(training, step)
    assert training.weights() == undisturbed(1)


def test_a_job_whose_time_is_over_is_tried_again_and_continues(
    training: Training, undisturbed: Callable[[int], str]
) -> None:
    """Its end comes before training expects it: an administrator may do that."""

    def shorten(job: dict[str, str]) -> None:
        training.cluster.command("scontrol", "update", f"jobid={job['JobId']}", "endtime=now+1")
        training.cluster.wait(job["JobId"], ("TIMEOUT", "FAILED", "COMPLETED"), 90)

    disturb(training, shorten)
    assert training.jobs("train")[0]["JobState"] in ("TIMEOUT", "FAILED", "COMPLETED")
    assert training.weights() == undisturbed(1)


def test_a_killed_trainer_is_tried_again_and_continues(training: Training, undisturbed: Callable[[int], str]) -> None:
    def kill(job: dict[str, str]) -> None:
        (lease,) = training.results.glob("train/small.building-*/run/lease.json")
        os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)

    _, step = disturb(training, kill)
    require_continued(training, step)
    assert training.weights() == undisturbed(1)


def test_a_killed_rank_ends_the_others_and_all_continue(
    cluster: Cluster, finished: Workspace, tmp_path: Path, undisturbed: Callable[[int], str]
) -> None:
    training = prepare(finished, tmp_path / "project", cluster, processes=2)

    def kill(job: dict[str, str]) -> None:
        os.kill(process_of_rank(1, training.folder), signal.SIGKILL)

    _, step = disturb(training, kill)
    log = (training.results / "logs/train/small.log").read_text()
    assert "continuing after step" in log
    require_continued(training, step)
    assert training.weights() == undisturbed(2)


def process_of_rank(rank: int, folder: Path) -> int:
    """The process id of a rank that trains below a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            variables = (process / "environ").read_bytes().split(b"\0")
            here = (process / "cwd").resolve() == folder
        except OSError:
            continue
        if here and b"pipeline.train.worker" in command and f"RANK={rank}".encode() in variables:
            return int(process.name)
    raise AssertionError(f"no process of rank {rank}")


def test_a_preempted_job_is_queued_again_and_is_no_failure(
    training: Training, undisturbed: Callable[[int], str]
) -> None:
    training.set_profile(slurm_partition="low")

    def preempt(job: dict[str, str]) -> None:
        training.cluster.submit("sleep 5", "--partition=high", "--nodes=4", "--exclusive", "--time=5")

    output, step = disturb(training, preempt)
    (job,) = training.jobs("train")
    assert job["Restarts"] == "1"
    assert "Error in rule" not in output
    require_continued(training, step)
    assert training.weights() == undisturbed(1)


def test_a_lost_node_costs_what_was_done_since_the_last_checkpoint(
    training: Training, undisturbed: Callable[[int], str]
) -> None:
    lost: list[str] = []

    def lose(job: dict[str, str]) -> None:
        lost.append(job["NodeList"])
        training.cluster.kill_node(job["NodeList"])

    try:
        output, step = disturb(training, lose)
    finally:
        training.cluster.start_node(lost[0])
    require_continued(training, step)
    (job,) = training.jobs("train")
    assert job["NodeList"] not in lost
    assert "Error in rule" not in output
    assert training.weights() == undisturbed(1)


def test_jobs_outlive_a_killed_orchestrator_and_are_waited_for(
    training: Training, undisturbed: Callable[[int], str]
) -> None:
    """The next command neither trains beside the job that goes on, nor after it."""
    process = training.start("--until", "train")
    first = training.running("train")
    training.checkpoint()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    second = training.start("--until", "train")
    training.cluster.until(lambda: len(training.jobs("train")) == 2, 60, "the next job is submitted")
    waiting = training.jobs("train")[1]
    assert waiting["JobState"] == "PENDING"
    assert waiting["Dependency"].startswith(f"afterany:{first['JobId']}")
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    assert training.steps() == [0], "one attempt trained everything"
    assert training.weights() == undisturbed(1)


def test_a_second_trainer_waits_while_the_first_lives(training: Training) -> None:
    """One that is no job of Slurm does not see the first one's job; it finds who is at work, and then nothing to do."""
    process = training.start("--until", "train")
    training.running("train")
    training.checkpoint()
    other = Workspace(training.folder).start("--until", "train")
    log = training.results / "logs/train/small.log"
    training.cluster.until(lambda: "is making it; waiting for that one" in log.read_text(), 60, "the second one waits")
    for one in (process, other):
        output, _ = one.communicate(timeout=300)
        assert one.returncode == 0, output
    assert training.steps() == [0]


def test_a_stage_longer_than_its_wall_time_finishes_over_several_jobs_by_one_command(
    cluster: Cluster, finished: Workspace, tmp_path: Path
) -> None:
    training = Training.take(
        finished,
        tmp_path / "project",
        cluster,
        model={**SLOW, "hidden_size": 512, "num_layers": 18, "intermediate_size": 2048},
        training={"checkpoints": {**CHECKPOINTS, "interval_steps": 1000, "margin_seconds": 30}},
    )
    training.set_profile(train_minutes=1)
    output = training.run("--until", "train")
    starts = training.history("start")
    assert len(starts) >= 3
    assert [row["restarts"] for row in starts] == list(range(len(starts)))
    saves = [row["step"] for row in training.history("stop")]
    assert [row["step"] for row in starts[1:]] == saves, "each job goes on where the one before saved"
    assert "Error in rule" not in output, "it is no failure"
    (job,) = training.jobs("train")
    assert job["JobState"] == "COMPLETED"
    assert int(job["Restarts"]) == len(starts) - 1
