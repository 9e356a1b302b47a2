"""A copy of the small project's results for each test, and its training as a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.artifact.manifest import MANIFEST
from pipeline.graph import Graph
from pipeline.settings.project import Project
from pipeline.settings.stage import StageSettings

CHECKPOINTS = {"interval_steps": 4, "keep_last": 2}


class Workplace:
    """A workflow whose results may be spoilt."""

    def __init__(self, project: Project, results: Path) -> None:
        stage = with_training(project.stages["small"], checkpoints=CHECKPOINTS)
        self.project = replace(project, workflow=project.workflow.model_copy(update={"results": str(results)}))
        self.project = replace(self.project, stages={"small": stage})
        self.results = results

    @property
    def graph(self) -> Graph:
        """The graph as a command that starts now sees it."""
        return Graph(self.project)

    def lose(self, *names: str) -> None:
        """Delete artifacts."""
        for name in names:
            shutil.rmtree(self.results / name)

    def drop_domain(self, name: str) -> None:
        """Take a domain out of the configuration."""
        domains = {key: value for key, value in self.project.workflow.domains.items() if key != name}
        self.project = replace(self.project, workflow=self.project.workflow.model_copy(update={"domains": domains}))

    def change_training(self, **changes: Any) -> None:
        """Change settings of the stage's training."""
        self.project = replace(self.project, stages={"small": with_training(self.project.stages["small"], **changes)})

    def building(self) -> Path:
        """Where the stage's current run lies."""
        (found,) = self.results.glob("train/small.building-*")
        return found

    def start_training(self) -> subprocess.Popen[str]:
        """Start the stage's step as its rule would."""
        graph, name = self.graph, "train/small"
        node = graph.nodes[name]
        arguments = [str(graph.manifest(one)) for one in node.inputs]
        arguments += ["--output", str(graph.folder(name) / MANIFEST), "--results", str(self.results)]
        arguments += ["--settings", json.dumps(node.settings)]
        arguments += ["--execution", json.dumps({**graph.execution(name, workers=1), "gate": None})]
        command = [sys.executable, "-m", "pipeline", "train", *arguments]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def freeze_training(self, seen: Callable[[Path], bool]) -> subprocess.Popen[str]:
        """Start the stage's step, and hold it still once its folder shows something. Wake it or kill it afterwards."""
        process = self.start_training()
        deadline = time.monotonic() + 120
        while not any(seen(folder) for folder in self.results.glob("train/small.building-*")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGSTOP)
        return process

    def kill_training(self, seen: Callable[[Path], bool]) -> None:
        """Start the stage's step, and kill it once its folder shows something."""
        end(self.freeze_training(seen))


def with_training(stage: StageSettings, **changes: Any) -> StageSettings:
    plain = stage.model_dump(mode="json", by_alias=True)
    return StageSettings.parse({**plain, "training": {**plain["training"], **changes}})


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def has_checkpoint(step: int) -> Callable[[Path], bool]:
    return lambda folder: (folder / f"run/step-{step:09d}/complete.json").exists()
