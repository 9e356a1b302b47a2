"""What a job asks for follows from the stage's layout and the cluster's names."""

from typing import Any

import pytest

from pipeline.allocation import Cluster, stage_resources, stage_threads
from pipeline.artifact.code import ROOT
from pipeline.graph import Graph
from pipeline.nodes import Node
from pipeline.settings.project import Project, read_project
from pipeline.settings.stage import StageSettings

CLUSTER = Cluster.of(
    {"slurm_partition": "'short'", "gpu_partition": "'a100'", "gpu_gres": "gpu:a100", "train_minutes": 600}
)
DEMO = read_project(ROOT / "config/demo.yaml", {"results": "never-made"}, roots=[ROOT])


def node_and_stage(step: str = "train", **distributed: Any) -> tuple[Node, StageSettings]:
    plain = DEMO.stages["demo"].model_dump(mode="json", by_alias=True)
    plain["training"].update(global_batch_size=64, micro_batch_size=1)
    stage = StageSettings.parse({**plain, "distributed": distributed})
    return Graph(Project(DEMO.workflow, {"demo": stage})).nodes[f"{step}/demo"], stage


def asked(step: str = "train", attempt: int = 1, found: bool = False, **distributed: Any) -> dict[str, Any]:
    return stage_resources(*node_and_stage(step, **distributed), CLUSTER, attempt, found)


def test_names_and_limits_of_a_cluster_are_read_as_a_profile_writes_them() -> None:
    assert Cluster("short", "a100", "gpu:a100", 600) == CLUSTER


@pytest.mark.parametrize(
    ("layout", "nodes", "gpus", "threads"),
    [
        ({}, None, 1, 8),
        ({"data_parallel": 8}, None, 8, 64),
        ({"data_parallel": 16}, 2, 8, 64),
        ({"data_parallel": 16, "processes_per_node": 4}, 4, 4, 32),
    ],
)
def test_each_process_gets_a_gpu_and_each_node_one_launcher(
    layout: dict[str, int], nodes: int | None, gpus: int, threads: int
) -> None:
    found = asked(**layout)
    assert (found.get("nodes"), found.get("tasks"), "mpi" in found) == (nodes, nodes, nodes is not None)
    assert found["gres"] == f"gpu:a100:{gpus}"
    assert found["tasks_per_gpu"] == 0
    assert (found["slurm_partition"], found["runtime"]) == ("a100", 600)
    assert stage_threads(node_and_stage(**layout)[0]) == threads


def test_a_stage_on_cpus_asks_for_none_and_for_memory_of_each_process() -> None:
    one, four = asked(device="cpu", threads=3), asked(device="cpu", threads=3, data_parallel=4)
    assert "gres" not in one
    assert one["slurm_partition"] == "short"
    assert four["mem_mb"] == 4 * one["mem_mb"]
    assert stage_threads(node_and_stage(device="cpu", threads=3, data_parallel=4)[0]) == 12


def test_evaluation_takes_one_gpu_whatever_the_layout() -> None:
    found = asked("evaluate", data_parallel=16)
    assert found["gres"] == "gpu:a100:1"
    assert "nodes" not in found


def test_memory_grows_with_each_attempt_and_the_time_of_what_cannot_continue() -> None:
    assert asked(attempt=3)["mem_mb"] == 3 * asked()["mem_mb"]
    assert asked(attempt=3)["runtime"] == 600
    assert asked("evaluate", attempt=3)["runtime"] == 3 * asked("evaluate")["runtime"]


def test_what_only_looks_asks_for_no_gpu() -> None:
    found = asked(found=True, data_parallel=16)
    assert found["slurm_partition"] == "short"
    assert not {"gres", "nodes", "tasks", "mpi"} & set(found)


def test_one_machine_has_no_partitions() -> None:
    node, stage = node_and_stage(data_parallel=8)
    assert set(stage_resources(node, stage, None, 1, False)) == {"mem_mb", "runtime"}
