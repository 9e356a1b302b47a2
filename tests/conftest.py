"""A small project, its artifacts made by the real steps as they are asked for, for tests of what stands at the end."""

import importlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.manifest import MANIFEST
from pipeline.artifact.step import Request, run
from pipeline.graph import Graph
from pipeline.settings.base import compose
from pipeline.settings.project import Project
from pipeline.settings.stage import StageSettings
from pipeline.settings.workflow import WorkflowSettings
from pipeline.steps import STEPS

STAGE: dict[str, Any] = {
    "model": {
        "vocab_size": 512,
        "hidden_size": 64,
        "num_layers": 3,
        "intermediate_size": 128,
        "first_k_dense": 1,
        "mtp_depth": 2,
        "max_position_embeddings": 64,
        "init_std": 0.02,
        "mla": {
            "num_heads": 2,
            "q_lora_rank": 32,
            "kv_lora_rank": 32,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 16,
            "v_head_dim": 16,
        },
        "moe": {"num_experts": 4, "top_k": 2, "intermediate_size": 48, "bias_update_speed": 0.01},
    },
    "data": {"seq_len": 64, "validation_rows": 12, "on_shortage": "redistribute"},
    "training": {
        "total_tokens": 20480,
        "global_batch_size": 8,
        "micro_batch_size": 8,
        "lr": 0.004,
        "schedule": {"warmup_tokens": 2048},
    },
    "evaluation": {"interval_steps": 4, "interval_rows": 4, "batch_rows": 16},
}
WORKFLOW: dict[str, Any] = {
    "corpus": "embedded",
    "corpus_bytes": 400_000,
    "domains": {
        "python_code": {"weight": 0.5},
        "docstrings": {"weight": 0.3},
        "language_reference": {"weight": 0.2},
    },
    "validation": {"fraction": 0.15},
    "tokenizer": {"vocab_size": 512, "sample_bytes": 100_000},
    "stages": ["small"],
}


class SmallProject:
    """A workflow with one stage that trains for seconds."""

    def __init__(self, results: Path) -> None:
        workflow = WorkflowSettings.parse({**WORKFLOW, "results": str(results)})
        self.graph = Graph(Project(workflow, {"small": StageSettings.parse(STAGE)}))
        self.results = results

    def make(self, name: str) -> Artifact:
        """The artifact of this name; it and what it is made of are made once."""
        manifest = self.results / name / MANIFEST
        if not manifest.exists():
            self._run(name, manifest)
        return Artifact.open(manifest)

    def inputs(self, name: str) -> dict[str, tuple[Artifact, ...]]:
        """What an artifact is made of, by role."""
        found: dict[str, list[Artifact]] = {}
        for needed in self.graph.nodes[name].inputs:
            found.setdefault(STEPS[self.graph.nodes[needed].step].role, []).append(self.make(needed))
        return {role: tuple(artifacts) for role, artifacts in found.items()}

    def settings(self, name: str) -> Mapping[str, Any]:
        """What enters an artifact's identity."""
        return self.graph.nodes[name].settings

    def copy(self, name: str, results: Path) -> Artifact:
        """A copy of an artifact below other results, to be spoilt."""
        shutil.copytree(self.make(name).folder, results / name)
        return Artifact.open(results / name / MANIFEST)

    def _run(self, name: str, manifest: Path) -> None:
        node = self.graph.nodes[name]
        step = STEPS[node.step]
        inputs = [(role, one.folder / MANIFEST) for role, found in self.inputs(name).items() for one in found]
        request = Request(
            step=step.name,
            module=step.module,
            settings=node.settings,
            inputs=inputs,
            output=manifest,
            results=self.results,
            execution=self.graph.execution(name, workers=1),
        )
        function = getattr(importlib.import_module(step.module), step.name)
        section = function.__annotations__["settings"]
        run(request, lambda build: function(section.parse(compose(node.settings, request.execution, section)), build))


@pytest.fixture(scope="session")
def small_project(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """The small project, shared by all tests: take copies of what you change."""
    return SmallProject(tmp_path_factory.mktemp("small") / "results")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process runs all tests of a file, and one all that need Slurm: a second cluster would be in its way."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("slurm" if item.path.parent.name == "slurm" else item.path.name))
