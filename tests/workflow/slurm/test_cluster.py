"""The cluster behaves as a real one does, in all that the workflow's tests rely on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster

WHOLE_NODES = ("--partition=gpu", "--nodes=2", "--gres=gpu:8", "--exclusive")


@pytest.fixture(autouse=True)
def clean(cluster: Cluster) -> Iterator[None]:
    """After each test the queue is empty and every node is idle."""
    yield
    cluster.command("scancel", "--user=root")
    cluster.until(lambda: set(cluster.node_states().values()) == {"idle"}, 30, "all nodes are idle again")


def test_four_nodes_are_idle(cluster: Cluster) -> None:
    assert cluster.node_states() == dict.fromkeys(["n1", "n2", "n3", "n4"], "idle")


def test_a_job_gets_the_nodes_and_gpus_that_it_asked_for_and_others_queue(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "output"
    script = f"srun --ntasks-per-node=1 sh -c 'echo \"$SLURMD_NODENAME $SLURM_GPUS_ON_NODE\" >> {output}'; sleep 60"
    first, second, third = [cluster.submit(script, *WHOLE_NODES) for _ in range(3)]
    for running in (first, second):
        job = cluster.wait(running, "RUNNING")
        assert (job["NumNodes"], job["TresPerNode"], job["GRES"]) == ("2", "gres:gpu:8", "gpu:8(IDX:0-7)")
        assert "cpu=128," in job["TRES"]
    cluster.until(lambda: output.exists() and len(output.read_text().split("\n")) == 5, 20, "all four tasks wrote")
    assert sorted(output.read_text().splitlines()) == ["n1 8", "n2 8", "n3 8", "n4 8"]
    assert cluster.job(third)["JobState"] == "PENDING"
    cluster.cancel(first)
    assert cluster.wait(third, "RUNNING")["JobId"] == third


def test_a_requeued_job_runs_again_within_seconds(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "output"
    job = cluster.submit(f"echo restart $SLURM_RESTART_COUNT >> {output}; sleep 60", "--requeue")
    cluster.wait(job, "RUNNING")
    cluster.until(output.exists, 10, "the first run wrote")
    cluster.command("scontrol", "requeue", job)
    cluster.until(lambda: "restart 1" in output.read_text(), 15, "the second run wrote")
    assert cluster.job(job)["Restarts"] == "1"


def test_a_job_of_high_sends_a_job_of_low_back_to_the_queue(cluster: Cluster) -> None:
    low = cluster.submit("sleep 60", "--partition=low", "--nodes=4", "--exclusive")
    cluster.wait(low, "RUNNING")
    high = cluster.submit("sleep 1", "--partition=high", "--nodes=1", "--exclusive")
    cluster.wait(high, "RUNNING")
    assert cluster.job(low)["JobState"] == "PENDING"
    cluster.wait(high, "COMPLETED")
    assert cluster.wait(low, "RUNNING")["Restarts"] == "1"


def test_the_job_of_a_lost_node_runs_again_elsewhere(cluster: Cluster) -> None:
    job = cluster.submit("sleep 60", "--requeue")
    node = cluster.wait(job, "RUNNING")["NodeList"]
    cluster.kill_node(node)
    cluster.until(lambda: cluster.job(job)["Restarts"] == "1", 45, "the loss is noticed")
    assert cluster.node_states()[node].startswith("down")
    assert cluster.wait(job, "RUNNING")["NodeList"] != node
    cluster.start_node(node)


def test_the_time_limit_ends_a_job(cluster: Cluster) -> None:
    job = cluster.submit("sleep 600")
    cluster.wait(job, "RUNNING")
    cluster.command("scontrol", "update", f"jobid={job}", "endtime=now+1")  # a time limit is a minute at least
    cluster.wait(job, "TIMEOUT", seconds=60)  # Slurm looks every half minute


def test_finished_jobs_are_still_known(cluster: Cluster) -> None:
    job = cluster.submit("exit 3", "--job-name=with a space")
    assert cluster.wait(job, "FAILED")["ExitCode"] == "3:0"
    assert [known["JobName"] for known in cluster.jobs() if known["JobId"] == job] == ["with a space"]
