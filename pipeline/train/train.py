"""The step `train`: a stage's run, from its first row or its last checkpoint to its final weights."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.artifact.publish import WORKING
from pipeline.evaluate.validate import validate, validation_rows
from pipeline.model.count import parameters, training_flops_per_token
from pipeline.model.deepseek import DeepSeekV3
from pipeline.model.initialize import initialize
from pipeline.settings.base import identity
from pipeline.settings.distributed import DistributedSettings
from pipeline.settings.evaluation import EvaluationSettings
from pipeline.settings.training import TrainStep
from pipeline.shards.batches import batches
from pipeline.shards.rows import Rows, open_validation
from pipeline.tokenizer.lengths import token_bytes
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import special_ids
from pipeline.train.checkpoint import (
    Position,
    checkpoint_folder,
    checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from pipeline.train.device import choose_device, compute_dtype, peak_flops
from pipeline.train.engine import TorchEngine
from pipeline.train.history import record_attempt
from pipeline.train.lease import Lease
from pipeline.train.metrics import MetricsLog
from pipeline.train.progress import Progress
from pipeline.train.signals import Stopped, StopRequest
from pipeline.train.trainer import Trainer

FINAL = "final"
"""The last checkpoint: what another stage or a longer run would start from."""
WEIGHTS = "model.safetensors"


def train(settings: TrainStep, build: Build) -> dict[str, Any]:
    """Train a stage. Working data (checkpoints on the way, logs) go below `run/`; a rerun continues from there.

    Raises ArtifactError or SettingsError where the inputs or the device do not fit, TrainingError where the run diverges,
    Stopped where it was asked to stop (it has saved then).
    """
    _refuse_a_closed_gate(build.execution.get("gate"))
    distributed = DistributedSettings.parse(build.execution.get("distributed", {}), "distributed")
    device = choose_device(distributed.device)
    torch.set_num_threads(distributed.threads or build.workers)
    folder = build.folder / WORKING
    with Lease(folder), StopRequest() as stop:
        return _Run(settings, build, device, folder).go(stop)


def _refuse_a_closed_gate(manifest: str | None) -> None:
    if manifest is None:
        return
    verdict = Artifact.open(Path(manifest)).manifest.counts["gate"]
    if not verdict["passed"]:
        raise ArtifactError(
            f"the stage before did not pass its gate ({manifest}): {'; '.join(verdict['reasons'])}; "
            "train that stage longer, or change its evaluation.gate"
        )


@dataclass(frozen=True)
class _Inputs:
    """What is read: the rows to train on, the rows to validate on, and what the ids mean."""

    rows: Rows
    validation: dict[str, np.ndarray]
    weights: Mapping[str, float]
    token_bytes: np.ndarray
    pad_id: int


class _Run:
    """One attempt at a stage."""

    def __init__(self, settings: TrainStep, build: Build, device: torch.device, folder: Path) -> None:
        self._settings = settings
        self._training = settings.training
        self._build = build
        self._folder = folder
        self._identity = identity(settings)
        self._evaluation = EvaluationSettings.parse(build.execution.get("evaluation", {}), "evaluation")
        self._inputs = _read_inputs(settings, build)
        self._name = f"train {build.one('validation').name.split('/')[1]}"
        dtype = compute_dtype(self._training, device)
        self._engine = TorchEngine(_build_model(settings), self._training, device, dtype)
        self._peak_flops = peak_flops(device, dtype)
        self._flops_per_token = training_flops_per_token(settings.model, settings.seq_len)

    def go(self, stop: StopRequest) -> dict[str, Any]:
        """Train from the last checkpoint to the end and write the artifact's files."""
        position = self._resume()
        record_attempt(self._folder, "start", position.step, code=self._build.execution.get("code"))
        log = MetricsLog(self._folder, position.step, self._training.wandb_project, self._name)
        progress = Progress(self._name, self._training.steps(self._settings.seq_len), position.step)
        progress.say(self._describe(position))
        try:
            position = self._train(position, log, progress, stop)
        except Stopped as stopped:
            progress.say(stopped.message)
            raise
        finally:
            log.close()
            progress.close()
        self._finish(position, log)
        return self._counts(position, log)

    def _train(self, position: Position, log: MetricsLog, progress: Progress, stop: StopRequest) -> Position:
        settings = self._settings
        trainer = Trainer(
            settings, self._engine, log, progress, self._inputs.pad_id, self._flops_per_token, self._peak_flops
        )
        rows = batches(self._inputs.rows, position.samples, self._training.global_batch_size)
        return trainer.train(position, rows, stop, self._after_step(log), self._save)

    def _after_step(self, log: MetricsLog) -> Callable[[Position], None]:
        steps = self._training.steps(self._settings.seq_len)
        validation_interval = self._evaluation.interval_steps
        checkpoint_interval = self._training.checkpoints.interval_steps

        def act(position: Position) -> None:
            last = position.step == steps
            if last or (validation_interval and position.step % validation_interval == 0):
                self._validate(position, log)
            if not last and position.step % checkpoint_interval == 0:
                self._save(position)

        return act

    def _validate(self, position: Position, log: MetricsLog) -> None:
        evaluation, inputs = self._evaluation, self._inputs
        found = validate(
            self._engine.model,
            inputs.validation,
            inputs.token_bytes,
            inputs.pad_id,
            evaluation.batch_rows,
            evaluation.interval_rows,
        )
        log.log_validation(validation_rows(found, inputs.weights, position.step, position.tokens))

    def _resume(self) -> Position:
        """Continue from the newest checkpoint that is whole; name and pass over damaged ones."""
        found = [*checkpoints(self._folder), *_final_checkpoint(self._build)]
        for folder in reversed(found):
            state = self._engine.state()
            try:
                position = load_checkpoint(folder, state, self._identity)
            except ArtifactError as error:
                if "other settings" in str(error):
                    raise
                print(f"{self._name}: {error}", flush=True)
                continue
            self._engine.restore(state)
            return position
        return Position()

    def _save(self, position: Position) -> None:
        folder = checkpoint_folder(self._folder, position.step)
        save_checkpoint(folder, self._engine.state(), position, self._identity)
        record_attempt(self._folder, "checkpoint", position.step)
        prune_checkpoints(self._folder, self._training.checkpoints.keep_last)

    def _finish(self, position: Position, log: MetricsLog) -> None:
        folder = self._build.folder
        save_checkpoint(folder / FINAL, self._engine.state(), position, self._identity)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self._engine.model.state_dict().items()}
        save_file(weights, folder / f".{WEIGHTS}", metadata={"format": "pt"})
        os.replace(folder / f".{WEIGHTS}", folder / WEIGHTS)
        log.write_tables(folder)
        record_attempt(self._folder, "finish", position.step)

    def _describe(self, position: Position) -> str:
        size = parameters(self._settings.model)
        begin = f"continuing after step {position.step}" if position.step else "starting"
        return (
            f"{begin} on {self._engine.device}; {size.total / 1e6:.1f} M parameters ({size.active / 1e6:.1f} M active, "
            f"MTP {size.mtp / 1e6:.1f} M besides); {len(self._inputs.rows):,} rows of {self._settings.seq_len} tokens"
        )

    def _counts(self, position: Position, log: MetricsLog) -> dict[str, Any]:
        size = parameters(self._settings.model)
        rates = sorted(row["tokens_per_second"] for row in log.steps.rows())
        median = rates[len(rates) // 2]
        return {
            "steps": position.step,
            "tokens": position.tokens,
            "samples": position.samples,
            "skipped_steps": position.skipped,
            "seconds": round(position.seconds, 1),
            "parameters": size.total,
            "active_parameters": size.active,
            "mtp_parameters": size.mtp,
            "flops_per_token": self._flops_per_token,
            "tokens_per_second": round(median, 1),
            "mfu": round(median * self._flops_per_token / self._peak_flops, 4),
            "device": str(self._engine.device.type),
        }


def _build_model(settings: TrainStep) -> DeepSeekV3:
    with torch.device("meta"):
        model = DeepSeekV3(settings.model)
    model.to_empty(device="cpu")
    initialize(model, settings.model, settings.training.seed)
    model.gradient_checkpointing = settings.training.gradient_checkpointing
    torch.manual_seed(settings.training.seed)  # dropout
    return model


def _read_inputs(settings: TrainStep, build: Build) -> _Inputs:
    tokenizer = load_tokenizer(build.one("tokenizer").path("tokenizer.json"))
    rows = Rows(build.inputs["shards"])
    width = settings.seq_len + 1 + settings.model.mtp_depth
    needed = settings.training.rows(settings.seq_len)
    if rows.width != width or len(rows) != needed:
        raise ArtifactError(
            f"the shards hold {len(rows)} rows of {rows.width} tokens, this stage needs {needed} of {width}; "
            "run the workflow again so that they are packed for it"
        )
    validation = build.one("validation")
    arrays = {name: open_validation(validation, name) for name in validation.manifest.settings["domains"]}
    return _Inputs(rows, arrays, build.execution["weights"], token_bytes(tokenizer), special_ids(tokenizer).pad)


def _final_checkpoint(build: Build) -> list[Path]:
    """The end of this very run, where the artifact was finished once and only lost another file."""
    final = build.folder / FINAL
    listed = [path for path in build.kept if path.startswith(f"{FINAL}/")]
    if listed and final.is_dir():
        return [final]
    shutil.rmtree(final, ignore_errors=True)
    return []
