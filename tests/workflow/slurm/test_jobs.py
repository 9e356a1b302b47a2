"""The workflow on a real Slurm: what each step asks for, what it gets, and that it comes out as on one machine."""

import json
import re
from pathlib import Path

import pytest
from cluster import Cluster
from submitting import Submitting
from workspace import ROOT, Workspace, finished_rules

from pipeline.artifact.manifest import MANIFEST, read_manifest
from pipeline.steps import STEPS


def weights(workspace: Workspace) -> str:
    """The SHA-256 of the trained weights."""
    files = read_manifest(workspace.folder_of("train/small") / MANIFEST).files
    return next(entry.sha256 for entry in files if entry.path == "model.safetensors")


def test_the_whole_demo_runs_with_a_job_for_every_rule(cluster: Cluster, tmp_path: Path) -> None:
    """The demo's text and tokenizer; its training is cut short."""
    workspace = Submitting(tmp_path, cluster)
    stage = json.loads((ROOT / "config/stages/demo.json").read_text())
    stage["training"].update(total_tokens=65536, schedule={"warmup_tokens": 8192})
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "demo.json").write_text(
        json.dumps({**stage, "distributed": {"device": "cpu", "threads": 2}})
    )
    (tmp_path / "config.yaml").write_text((ROOT / "config/demo.yaml").read_text() + "stages_folder: stages\n")
    output = workspace.run("--groups", "ladder=ladder", "report=report")
    jobs = workspace.jobs()
    assert len(finished_rules(output)) == len(jobs) == 19
    rules = {re.match(r"(?:rule|group)_([a-z]+)", job["Comment"]).group(1) for job in jobs}  # type: ignore[union-attr]
    assert rules == set(STEPS)
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert {job["Partition"] for job in jobs} == {"cpu"}
    assert all(job["JobName"].startswith("seekmake_") and job["Requeue"] == "1" for job in jobs)
    assert "Nothing to be done" in workspace.run()


def test_small_steps_that_follow_each_other_share_a_job(cluster: Cluster, finished: Workspace, tmp_path: Path) -> None:
    workspace = Submitting.take(finished, tmp_path / "project", cluster)
    output = workspace.run()
    comments = [job["Comment"] for job in workspace.jobs()]
    assert len(comments) == 4
    assert any(comment.startswith("rule_tables") for comment in comments)
    assert finished_rules(output) == ["evaluate", "export", "ladder", "report", "train"]


def test_two_nodes_with_two_processes_each_train_what_four_on_one_node_do(
    cluster: Cluster, finished: Workspace, tmp_path: Path
) -> None:
    layouts = {"two": {"data_parallel": 4, "processes_per_node": 2}, "one": {"data_parallel": 4}}
    found = {}
    for name, layout in layouts.items():
        workspace = Submitting.take(
            finished, tmp_path / name, cluster, training={"micro_batch_size": 2}, distributed=layout
        )
        workspace.run("--until", "train")
        (job,) = workspace.jobs("train")
        nodes = 2 if name == "two" else 1
        assert (job["NumNodes"], job["NumTasks"]) == (str(nodes), str(nodes))
        log = (workspace.results / "logs/train/small.log").read_text()
        assert f"{nodes} node{'s' if nodes > 1 else ''} x {4 // nodes} processes, gloo" in log
        found[name] = weights(workspace)
    assert found["two"] == found["one"]


def test_a_stage_of_two_nodes_with_eight_gpus_each_gets_what_it_asks_for(
    cluster: Cluster, finished: Workspace, tmp_path: Path
) -> None:
    """The nodes' GPUs are imaginary: the job gets them, training finds none, and says so with the way out."""
    layout = {"device": "cuda", "data_parallel": 16, "processes_per_node": 8, "threads": 0}
    workspace = Submitting.take(
        finished,
        tmp_path / "project",
        cluster,
        training={"micro_batch_size": 1, "global_batch_size": 16},
        distributed=layout,
    )
    workspace.set_profile(train_minutes=90, mem_mb=2000)
    output = workspace.run("--until", "train", "--retries", "0", "--verbose", fails=True)
    call = next(line for line in output.splitlines() if "sbatch" in line and "rule_train" in line)
    for words in ("--nodes=2", "--ntasks=2", "--cpus-per-task=64", "--gres=gpu:8", "-t 90", "-p gpu"):
        assert words in call.replace("'", ""), (words, call)
    assert "ntasks-per-gpu" not in call
    memory = int(re.search(r"--mem (\d+)", call).group(1))  # type: ignore[union-attr]
    (job,) = workspace.jobs("train")
    assert (job["NumNodes"], job["NumTasks"], job["CPUs/Task"]) == ("2", "2", "64")
    assert job["TresPerNode"] == "gres:gpu:8"
    assert (job["Partition"], job["TimeLimit"]) == ("gpu", "01:30:00")
    assert job["MinMemoryNode"] in (f"{memory}M", f"{memory / 1024:g}G")
    assert f"cpu=128,mem={2 * memory}M,node=2" in job["TRES"].replace(".00", "")
    assert "train/small failed (Slurm job" in output
    assert "this machine shows no GPU to torch; write 'auto' or 'cpu'" in output


@pytest.fixture
def all_gpus_taken(cluster: Cluster):  # type: ignore[no-untyped-def]
    """A job of somebody else that holds every GPU."""
    job = cluster.submit("sleep 600", "--partition=gpu", "--nodes=4", "--gres=gpu:8", "--time=30")
    cluster.wait(job, "RUNNING")
    yield job
    cluster.cancel(job)


def test_training_that_has_nothing_to_do_waits_for_no_gpu(
    cluster: Cluster, finished: Workspace, tmp_path: Path, all_gpus_taken: str
) -> None:
    """The validation rows are made again, the same: training must look, but not in the queue for GPUs."""
    workspace = Submitting(tmp_path / "project", cluster)
    finished.copy(workspace.folder)
    record = workspace.folder_of("shards/small/validation")
    for name in (MANIFEST, "artifact.json"):
        plain = json.loads((record / name).read_text())
        plain["fingerprint"] = "another"  # as if it had been made by other code
        plain["code_files"] = {}
        (record / name).write_text(json.dumps(plain))
    before = workspace.contents()
    output = workspace.run()
    assert {"validation", "train", "evaluate"} <= set(finished_rules(output))
    for rule in ("train", "evaluate"):
        (job,) = workspace.jobs(rule)
        assert job["Partition"] == "cpu"
        assert "gpu" not in job["TRES"]
    assert workspace.contents() == before
    assert cluster.job(all_gpus_taken)["JobState"] == "RUNNING"
