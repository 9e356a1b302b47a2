"""The step `train`: a stage's run, from its first row or its last checkpoint to its final weights."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.artifact.publish import WORKING
from pipeline.evaluate.device import choose_device
from pipeline.evaluate.layout import WEIGHTS
from pipeline.evaluate.validate import validate, validation_rows
from pipeline.model.count import parameters, training_flops_per_token
from pipeline.model.deepseek import DeepSeekV3
from pipeline.model.initialize import initialize
from pipeline.settings.base import identity
from pipeline.settings.distributed import DistributedSettings
from pipeline.settings.evaluation import EvaluationSettings
from pipeline.settings.training import TrainStep
from pipeline.shards.batches import batches
from pipeline.train.checkpoint import (
    Position,
    checkpoint_folder,
    checkpoints,
    load_checkpoint,
    newest_whole,
    prune_checkpoints,
    save_checkpoint,
    writing,
)
from pipeline.train.device import compute_dtype, peak_flops
from pipeline.train.engine import TorchEngine
from pipeline.train.history import count_attempts, record
from pipeline.train.inputs import Inputs, read_inputs
from pipeline.train.lease import Lease
from pipeline.train.metrics import TABLES, MetricsLog, rows_of_metrics
from pipeline.train.progress import Progress
from pipeline.train.signals import Stopped, StopRequest
from pipeline.train.trainer import Trainer, TrainingError

FINAL = "final"
"""The last checkpoint: what another stage or a longer run would start from."""


def train(settings: TrainStep, build: Build) -> dict[str, Any]:
    """Train a stage. Working data (checkpoints on the way, logs) go below `run/`; a rerun continues from there.

    Raises ArtifactError or SettingsError where the inputs or the device do not fit, TrainingError where the run
    diverges, Stopped where it was asked to stop (it has saved then).
    """
    _refuse_a_closed_gate(build.execution.get("gate"))
    distributed = DistributedSettings.parse(build.execution.get("distributed", {}), "distributed")
    device = choose_device(distributed.device)
    dtype = compute_dtype(settings.training, device)
    torch.set_num_threads(distributed.threads or build.workers)
    inputs = read_inputs(settings, build)
    with Lease(build.folder / WORKING) as lease, StopRequest() as stop:
        engine = TorchEngine(_build_model(settings), settings.training, device, dtype)
        return _Run(settings, build, inputs, engine, lease).go(stop)


def _refuse_a_closed_gate(manifest: str | None) -> None:
    if manifest is None:
        return
    verdict = Artifact.open(Path(manifest)).manifest.counts["gate"]
    if not verdict["passed"]:
        raise ArtifactError(
            f"the stage before did not pass its gate ({manifest}): {'; '.join(verdict['reasons'])}; "
            "train that stage longer, or change its evaluation.gate"
        )


def _build_model(settings: TrainStep) -> DeepSeekV3:
    with torch.device("meta"):
        model = DeepSeekV3(settings.model)
    model.to_empty(device="cpu")
    initialize(model, settings.model, settings.training.seed)
    model.gradient_checkpointing = settings.training.gradient_checkpointing
    torch.manual_seed(settings.training.seed)  # dropout
    return model


class _Run:
    """One attempt at a stage."""

    def __init__(self, settings: TrainStep, build: Build, inputs: Inputs, engine: TorchEngine, lease: Lease) -> None:
        self._settings = settings
        self._training = settings.training
        self._steps = settings.training.steps(settings.seq_len)
        self._build = build
        self._folder = build.folder / WORKING
        self._identity = identity(settings)
        self._evaluation = EvaluationSettings.parse(build.execution.get("evaluation", {}), "evaluation")
        self._inputs = inputs
        self._name = f"train {build.one('validation').name.split('/')[1]}"
        self._engine = engine
        self._best_flops = peak_flops(engine.device, engine.dtype)
        self._flops_per_token = training_flops_per_token(settings.model, settings.seq_len)
        self._lease = lease
        self._is_final_saved = False

    def go(self, stop: StopRequest) -> dict[str, Any]:
        """Train from the last checkpoint to the end and write the artifact's files."""
        progress = Progress(self._name, self._steps)
        position = self._resume(progress)
        log = MetricsLog(self._folder, position.step, self._training.wandb_project, self._name)
        how = dict(self._build.execution)
        record(self._folder, "start", position.step, code=self._build.code, execution=how)
        progress.start(position.step, self._describe(position))
        try:
            position = self._train(position, log, progress, stop)
        except Stopped as stopped:
            record(self._folder, "stop", stopped.step, signal=stopped.signal.name)
            progress.say(stopped.message)
            raise
        finally:
            log.close()
            progress.close()
        self._finish(position, log, progress)
        return self._counts(position, log)

    def _resume(self, progress: Progress) -> Position:
        """Continue from the newest checkpoint that is whole, or begin.

        The folder is that of this very run, so `final` in it is its end: a kill came before the artifact was complete,
        or another of the artifact's files was lost.
        """
        final = self._build.folder / FINAL
        folders = [*checkpoints(self._folder), *([final] if final.is_dir() else [])]
        saved = newest_whole(folders, progress.say)
        if saved is None:
            return Position()
        state = self._engine.state()
        position = load_checkpoint(saved, state, self._identity)
        self._engine.restore(state)
        self._is_final_saved = saved.folder == final
        return position

    def _train(self, position: Position, log: MetricsLog, progress: Progress, stop: StopRequest) -> Position:
        mfu_per_rate = self._flops_per_token / self._best_flops
        trainer = Trainer(self._settings, self._engine, log, progress, self._inputs.pad_id, mfu_per_rate)
        rows = batches(self._inputs.rows, position.samples, self._training.global_batch_size)

        def save(position: Position) -> bool:
            sound = self._is_sound(position, progress)
            if sound:
                self._save(position, log)
            return sound

        def after_step(position: Position) -> None:
            validates, saves = self._is_validation_due(position), self._is_checkpoint_due(position)
            if (validates or saves) and self._is_sound(position, progress):
                if validates:
                    self._validate(position, log)
                if saves:
                    self._save(position, log)

        if self._is_validation_due(position) and not log.is_validated(position.step):
            self._validate(position, log)  # asked to stop, the attempt before saved without it
        return trainer.train(position, rows, stop, after_step, save)

    def _is_validation_due(self, position: Position) -> bool:
        interval = self._evaluation.interval_steps
        return position.step == self._steps or (bool(interval) and self._is_every(interval, position))

    def _is_checkpoint_due(self, position: Position) -> bool:
        return position.step < self._steps and self._is_every(self._training.checkpoints.interval_steps, position)

    @staticmethod
    def _is_every(interval: int, position: Position) -> bool:
        """Whether an interval is over; not while steps are skipped, for their weights may be spoilt."""
        return position.step > 0 and position.step % interval == 0 and not position.skipped_in_a_row

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

    def _is_sound(self, position: Position, progress: Progress) -> bool:
        """Whether the state is worth saving: an update may overflow though its loss and gradient did not.

        A spoilt state must not push out the last good checkpoint, from which the next attempt goes on.
        """
        sound = self._engine.is_finite()
        if not sound:
            progress.say(f"the state after step {position.step} is not finite, so it is not saved")
        return sound

    def _save(self, position: Position, log: MetricsLog) -> None:
        self._lease.require()
        log.sync()
        folder = checkpoint_folder(self._folder, position.step)
        save_checkpoint(folder, self._engine.state(), position, self._identity)
        record(self._folder, "checkpoint", position.step)
        if not position.skipped_in_a_row:
            prune_checkpoints(folder, self._training.checkpoints.keep_last)

    def _finish(self, position: Position, log: MetricsLog, progress: Progress) -> None:
        """Write the artifact's files. Raises TrainingError if the weights are spoilt."""
        self._lease.require()
        if not self._engine.is_finite():
            raise TrainingError(
                f"step {position.step}: the weights or the optimizer's averages are not finite at the end; "
                "lower training.lr or lengthen training.schedule.warmup_tokens"
            )
        folder = self._build.folder
        if not self._is_final_saved:
            save_checkpoint(folder / FINAL, self._engine.state(), position, self._identity)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self._engine.model.state_dict().items()}
        with writing(folder / WEIGHTS):
            save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
            if not self._tables_outlive(log, position):
                log.write_tables(folder)
        if lost := position.step - rows_of_metrics(folder):
            progress.say(f"the metrics of {lost} steps are lost with the logs in {self._folder}")
        record(self._folder, "finish", position.step)

    def _tables_outlive(self, log: MetricsLog, position: Position) -> bool:
        """Whether the finished artifact's own tables are there, while the logs they came from were deleted."""
        return log.steps() < position.step and self._build.kept.issuperset(TABLES)

    def _describe(self, position: Position) -> str:
        size = parameters(self._settings.model)
        begin = f"continuing after step {position.step}" if position.step else "starting"
        return (
            f"{begin} on {self._engine.device}; {size.total / 1e6:.1f} M parameters ({size.active / 1e6:.1f} M active, "
            f"MTP {size.mtp / 1e6:.1f} M besides); {len(self._inputs.rows):,} rows of {self._settings.seq_len} tokens"
        )

    def _counts(self, position: Position, log: MetricsLog) -> dict[str, Any]:
        size = parameters(self._settings.model)
        rate = log.tokens_per_second()
        return {
            "steps": position.step,
            "tokens": position.tokens,
            "samples": position.samples,
            "skipped_steps": position.skipped,
            "steps_without_metrics": position.step - rows_of_metrics(self._build.folder),
            "attempts": count_attempts(self._folder),
            "seconds": round(log.seconds(), 1),
            "parameters": size.total,
            "active_parameters": size.active,
            "mtp_parameters": size.mtp,
            "flops_per_token": self._flops_per_token,
            "tokens_per_second": round(rate, 1),
            "mfu": round(rate * self._flops_per_token / self._best_flops, 4),
            "device": str(self._engine.device.type),
        }
