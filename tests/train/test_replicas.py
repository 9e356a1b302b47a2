"""Several processes train what one trains, and continue what any other number began."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.artifact.code import ROOT, code_files
from pipeline.artifact.files import ArtifactError, sha256_of
from pipeline.artifact.publish import listed_files
from pipeline.settings.base import SettingsError
from pipeline.settings.training import TrainStep
from pipeline.train.checkpoint import read_checkpoint
from pipeline.train.checkpoints import checkpoints
from pipeline.train.outcome import TrainingError
from pipeline.train.task import Task

LOSSES = ("loss", "next_token", "mtp_0", "mtp_1", "sequence_balance", "switch_balance")


def metrics(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "metrics.parquet").to_pylist()
    return found


def history(folder: Path, event: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "run/history.jsonl").read_text().splitlines()]
    return [row for row in rows if row["event"] == event]


def hashes(folder: Path) -> dict[str, str]:
    return {name: sha256_of(folder / name) for name in listed_files(folder)}


def require_equal_losses(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [(row["step"], row["tokens"], row["lr"]) for row in found] == [
        (row["step"], row["tokens"], row["lr"]) for row in wanted
    ]
    for ours, theirs in zip(found, wanted, strict=True):
        for name in LOSSES:
            assert ours[name] == pytest.approx(theirs[name], abs=2e-6), (ours["step"], name)
        assert ours["max_expert_load"] == theirs["max_expert_load"]


@pytest.fixture(scope="module")
def settings_of(short_stage: Any) -> Callable[..., TrainStep]:
    """Dropout, all balance losses and moving router biases; gentle steps, so that rounding stays rounding."""
    moe = {**short_stage.model["moe"], "router_aux_loss_weight": 0.01, "sequence_loss_weight": 0.01}

    def settings(**training: Any) -> TrainStep:
        chosen = {"micro_batch_size": 1, "lr": 0.001, "checkpoints": {"interval_steps": 3, "keep_last": 9}, **training}
        found: TrainStep = short_stage.settings({"dropout": 0.1, "moe": moe}, **chosen)
        return found

    return settings


@pytest.fixture(scope="module")
def alone(short_stage: Any, settings_of: Callable[..., TrainStep], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process trains."""
    folder = tmp_path_factory.mktemp("alone")
    short_stage.train_by(1, folder, settings_of())
    return folder


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_train_what_one_does(
    short_stage: Any, settings_of: Callable[..., TrainStep], alone: Path, tmp_path: Path, processes: int
) -> None:
    """Two accumulate two micro-batches each, four have one each."""
    counts = short_stage.train_by(processes, tmp_path, settings_of())
    require_equal_losses(metrics(tmp_path), metrics(alone))
    assert (counts["processes"], counts["samples"], counts["steps"]) == (processes, 48, 12)
    (start,) = history(tmp_path, "start")
    assert (start["processes"], start["layout"]) == (processes, f"1 node x {processes} processes, gloo")
    assert len(start["hosts"]) == 1


def forget_after(folder: Path, step: int) -> None:
    """Put a run back to where its checkpoint of a step was the last thing done."""
    shutil.rmtree(folder / "final")
    for path in checkpoints(folder / "run"):
        if read_checkpoint(path).position.step > step:
            shutil.rmtree(path)


def test_a_run_continues_with_any_other_number_of_processes(
    short_stage: Any, settings_of: Callable[..., TrainStep], alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(alone, folder)
    for processes, step in ((2, 3), (4, 6), (1, 9)):
        forget_after(folder, step)
        short_stage.train_by(processes, folder, settings_of())
    assert [(row["step"], row["processes"]) for row in history(folder, "start")] == [(0, 1), (3, 2), (6, 4), (9, 1)]
    require_equal_losses(metrics(folder), metrics(alone))


def test_what_two_processes_train_does_not_depend_on_where_they_began(
    short_stage: Any, settings_of: Callable[..., TrainStep], tmp_path: Path
) -> None:
    short_stage.train_by(2, tmp_path, settings_of())
    before = hashes(tmp_path)
    forget_after(tmp_path, 6)
    short_stage.train_by(2, tmp_path, settings_of())
    assert hashes(tmp_path) == before


PAIR = """
import torch
from pipeline.train.replicas import joined

with joined(torch.device("cpu")) as replicas:
    rank = replicas.rank
    own = torch.tensor([rank + 1.0, 1.0])
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = own.clone()
    replicas.sum_gradients([weight])
    found = [replicas.sum(own).tolist(), weight.grad.tolist(), replicas.largest(rank), replicas.hear(rank)]
    found += [replicas.agree(rank == 1), replicas.agree(False), replicas.gather(f"host{rank}")]
    print(found)
    try:
        replicas.require_equal(float(rank), 7)
    except ValueError as error:
        print(type(error).__name__, error)
"""


def test_replicas_sum_agree_and_notice_that_they_differ(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", PAIR],
            env={**os.environ, **meeting, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in pair:
        said = process.communicate(timeout=120)[0].splitlines()
        assert said[0] == str([[3.0, 2.0], [3.0, 2.0], 1, 0, True, False, ["host0", "host1"]])
        assert said[1].startswith("TrainingError step 7: the weights of process 1 differ from those of process 0")


@pytest.mark.parametrize(
    ("changed", "layout", "kind", "said"),
    [
        (
            {},
            {"processes_per_node": 2},
            SettingsError,
            r"4 processes, 2 on a node .* need 2 nodes, but this is no Slurm",
        ),
        ({"use_bf16": True}, {"device": "cpu"}, SettingsError, r"training\.use_bf16: true: on a CPU"),
        ({"total_tokens": 2048}, {}, ArtifactError, "the shards hold 48 rows of 67 tokens, this stage needs 32"),
        ({"lr": 1e30, "schedule": {}, "max_skipped_steps": 1}, {}, TrainingError, "2 steps in a row"),
    ],
)
def test_an_error_of_the_processes_is_one_of_who_started_them(
    short_stage: Any,
    settings_of: Callable[..., TrainStep],
    tmp_path: Path,
    changed: dict[str, Any],
    layout: dict[str, Any],
    kind: type[Exception],
    said: str,
) -> None:
    with pytest.raises(kind, match=said) as error:
        short_stage.train_by(4, tmp_path, settings_of(**changed), **layout)
    assert type(error.value) is kind


def test_a_full_disk_reaches_the_user_as_a_sentence(
    short_stage: Any, settings_of: Callable[..., TrainStep], tmp_path: Path
) -> None:
    """Only the first process writes; the other one finds out by itself that it is gone."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/step-000000003").write_text("a file stands where the checkpoint has to go")
    with pytest.raises(ArtifactError, match=r"step-000000003 cannot be written"):
        short_stage.train_by(2, tmp_path, settings_of())
    assert not (tmp_path / "run/lease.json").exists()


def test_all_code_that_trains_is_in_the_digest_of_the_step() -> None:
    found = code_files("pipeline.train.train")
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "pipeline/train").glob("*.py")} <= found.keys()


def test_who_starts_the_processes_needs_no_torch() -> None:
    code = "import sys, pipeline.train.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_torchrun_can_start_the_processes_too(
    short_stage: Any, settings_of: Callable[..., TrainStep], alone: Path, tmp_path: Path
) -> None:
    """They are told what torchrun tells, so whatever starts processes as it does may start them."""
    build = short_stage.build(tmp_path, distributed={"device": "cpu", "data_parallel": 2, "threads": 1})
    path = Task(settings_of(), build, job_end=None).write()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "pipeline.train.worker", str(path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    require_equal_losses(metrics(tmp_path), metrics(alone))
