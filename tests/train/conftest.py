"""A short stage on rows of the small project: twelve steps of four rows, trained in about a second."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.manifest import MANIFEST, Manifest
from pipeline.artifact.step import Request, run
from pipeline.model.deepseek import DeepSeekV3
from pipeline.settings.training import TrainStep
from pipeline.shards.array import ArrayWriter
from pipeline.shards.rows import Rows
from pipeline.train.attempt import build_model
from pipeline.train.engine import TorchEngine
from pipeline.train.train import train

STAGE = "train/short"
ROWS, SEQ_LEN, BATCH = 48, 64, 4
TRAINING: dict[str, Any] = {
    "total_tokens": ROWS * SEQ_LEN,
    "global_batch_size": BATCH,
    "micro_batch_size": 2,
    "lr": 0.004,
    "schedule": {"warmup_tokens": 1024},
    "checkpoints": {"interval_steps": 3, "keep_last": 2},
}
EXECUTION: dict[str, Any] = {
    "workers": 1,
    "distributed": {"device": "cpu", "threads": 1},
    "evaluation": {"interval_steps": 5, "interval_rows": 2, "batch_rows": 4},
}


class ShortStage:
    """What `train` is given for a short stage."""

    def __init__(self, model: Mapping[str, Any], weights: Mapping[str, float], inputs: dict[str, Artifact]) -> None:
        self.model = dict(model)
        self.execution = {**EXECUTION, "weights": dict(weights)}
        self.inputs = inputs

    def settings(self, model: Mapping[str, Any] | None = None, **training: Any) -> TrainStep:
        """The stage's settings with some changed."""
        section = {"model": {**self.model, **(model or {})}, "training": {**TRAINING, **training}, "seq_len": SEQ_LEN}
        return TrainStep.parse(section)

    def build(self, folder: Path, kept: frozenset[str] = frozenset(), **execution: Any) -> Build:
        """A build in a folder."""
        inputs = {role: (artifact,) for role, artifact in self.inputs.items()}
        return Build(folder, inputs, execution={**self.execution, **execution}, code="c" * 64, kept=kept)

    def train(self, folder: Path, model: Mapping[str, Any] | None = None, **training: Any) -> dict[str, Any]:
        """Train, or continue, in a folder."""
        return train(self.settings(model, **training), self.build(folder))

    def train_by(self, processes: int, folder: Path, settings: TrainStep, **more: Any) -> dict[str, Any]:
        """Train, or continue, in a folder with so many processes."""
        distributed = {**EXECUTION["distributed"], "data_parallel": processes, **more}
        return train(settings, self.build(folder, distributed=distributed))

    def engine(self, settings: TrainStep) -> TorchEngine:
        """A fresh engine on the CPU."""
        return TorchEngine(build_model(settings), settings.training, torch.device("cpu"), torch.float32)

    def rows(self) -> torch.Tensor:
        """The training rows [48, 64 + 1 + 2]."""
        return torch.from_numpy(Rows([self.inputs["shards"]]).read(0, ROWS))

    def command(self, results: Path, settings: TrainStep, processes: int = 1) -> list[str]:
        """The command line that a rule runs."""
        manifests = [str(artifact.folder / MANIFEST) for artifact in self.inputs.values()]
        options = ["--output", str(results / STAGE / MANIFEST), "--results", str(results)]
        plain = settings.model_dump(mode="json", by_alias=True)
        distributed = {**EXECUTION["distributed"], "data_parallel": processes}
        execution = json.dumps({**self.execution, "distributed": distributed})
        told = ["--settings", json.dumps(plain), "--execution", execution]
        return [sys.executable, "-m", "pipeline", "train", *manifests, *options, *told]


class Attempts:
    """Starts the same command again and again."""

    def __init__(self, command: list[str], results: Path) -> None:
        self._command = command
        self.results = results

    def start(self, stderr: Any = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
        """Start it in a process group of its own, as a shell does."""
        told = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        return subprocess.Popen(
            self._command, stderr=stderr, stdout=stderr, text=True, env=told, start_new_session=True
        )

    def finish(self) -> Manifest:
        process = self.start()
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        return Artifact.open(self.results / STAGE / MANIFEST).manifest

    def interrupt(self, seen: Callable[[], bool], number: signal.Signals) -> tuple[int, str]:
        """Start, send a signal once something is seen, and return the exit code and what was said."""
        process = self.start()
        self.wait_until(process, seen)
        process.send_signal(number)
        _, error = process.communicate(timeout=120)
        return process.returncode, error

    def interrupt_unheard(self, seen: Callable[[], bool], number: signal.Signals) -> int:
        """The same while nobody reads what is said any more, as where Ctrl-C has ended a `tee`."""
        reading, writing = os.pipe()
        process = self.start(stderr=writing)
        os.close(writing)
        self.wait_until(process, seen)
        os.close(reading)
        process.send_signal(number)
        return process.wait(timeout=120)

    def steps(self) -> int:
        """How many steps are logged."""
        logs = list(self.results.glob(f"{STAGE}.building-*/run/metrics.jsonl"))
        return logs[0].read_text().count("\n") if logs else 0

    def sees(self, pattern: str) -> bool:
        """Whether something below the folder being built is there."""
        return any(self.results.glob(f"{STAGE}.building-*/{pattern}"))

    def history(self) -> list[dict[str, Any]]:
        (path,) = self.results.glob(f"{STAGE}*/run/history.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()]

    def wait_until(self, process: subprocess.Popen[str], seen: Callable[[], bool]) -> None:
        """Wait until something is seen while a process runs."""
        deadline = time.monotonic() + 120
        while not seen():
            assert process.poll() is None, "it ended before it was interrupted"
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture(scope="session")
def attempts_at(short_stage: ShortStage) -> Callable[..., Attempts]:
    """Attempts at a stage by its command line, with its settings, the results folder and the number of processes."""

    def attempts(settings: TrainStep, results: Path, processes: int = 1) -> Attempts:
        return Attempts(short_stage.command(results, settings, processes), results)

    return attempts


@pytest.fixture(scope="session")
def short_stage(small_project: Any, tmp_path_factory: pytest.TempPathFactory) -> ShortStage:
    names = {"validation": "shards/small/validation", "tokenizer": "tokenizer"}
    inputs = {role: small_project.make(name) for role, name in names.items()}
    results = tmp_path_factory.mktemp("short") / "results"
    sources = sources_of(small_project)
    inputs["shards"] = first_rows(results, small_project.make("shards/small/0000"), ROWS, sources)
    node = small_project.graph.nodes["train/small"]
    return ShortStage(node.settings["model"], node.execution["weights"], inputs)


def sources_of(small_project: Any) -> list[tuple[str, Path]]:
    """What the small project's shards are made of: roles and manifests."""
    found = small_project.inputs("shards/small/0000")
    return [(role, one.folder / MANIFEST) for role, artifacts in found.items() for one in artifacts]


def first_rows(results: Path, shards: Artifact, count: int, sources: list[tuple[str, Path]]) -> Artifact:
    """Shards of the first rows of others, made of the same."""

    def write(build: Build) -> dict[str, Any]:
        rows = Rows([shards])
        with ArrayWriter(build.folder / "000000.zarr", rows.dtype, (rows.width,)) as shard:
            shard.append(rows.read(0, count))
        return {"rows": count}

    output = results / f"shards/first-{count}/0000" / MANIFEST
    run(Request("pack", "pipeline.shards.pack", {"rows": count}, sources, output, results), write)
    return Artifact.open(output)


@pytest.fixture
def fewer_rows(small_project: Any, short_stage: ShortStage, tmp_path: Path) -> Artifact:
    """Shards with a row too few."""
    return first_rows(tmp_path / "fewer", short_stage.inputs["shards"], ROWS - 1, sources_of(small_project))


@pytest.fixture(scope="session")
def weights_of() -> Callable[[DeepSeekV3], dict[str, torch.Tensor]]:
    """A model's weights and router biases, as they are now."""
    return lambda model: {name: tensor.clone() for name, tensor in model.state_dict().items()}
