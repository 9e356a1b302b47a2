"""One attempt at a stage by one process, alone or as one of several replicas: from the last checkpoint on."""

import os
import platform
import time
from contextlib import nullcontext
from typing import Any

import torch
from safetensors.torch import save_file

from pipeline.evaluate.device import choose_device
from pipeline.evaluate.layout import WEIGHTS
from pipeline.evaluate.validate import validate, validation_rows
from pipeline.model.count import parameters, training_flops_per_token
from pipeline.model.deepseek import DeepSeekV3
from pipeline.model.initialize import initialize
from pipeline.settings.base import SettingsError, identity
from pipeline.settings.evaluation import EvaluationSettings
from pipeline.settings.training import TrainStep
from pipeline.shards.batches import batches
from pipeline.train.checkpoint import (
    Position,
    Saved,
    load_checkpoint,
    newest_whole,
    prune_checkpoints,
    save_checkpoint,
    writing,
)
from pipeline.train.checkpoints import checkpoint_folder, checkpoints
from pipeline.train.device import compute_dtype, peak_flops
from pipeline.train.engine import TorchEngine
from pipeline.train.history import count_attempts, longest_save, record
from pipeline.train.inputs import Inputs, read_inputs
from pipeline.train.lease import Lease
from pipeline.train.metrics import TABLES, MetricsLog, rows_of_metrics
from pipeline.train.outcome import TrainingError
from pipeline.train.progress import Progress
from pipeline.train.replicas import joined
from pipeline.train.signals import Stopped, StopRequest
from pipeline.train.slurm import restarts
from pipeline.train.task import Task
from pipeline.train.trainer import Trainer
from pipeline.train.walltime import WallTime

FINAL = "final"
"""The last checkpoint: what another stage or a longer run would start from."""


def train_alone(task: Task) -> dict[str, Any]:
    """Train in this process. Raises what `pipeline.train.train.train` does."""
    device = choose_device(task.layout.device)
    dtype = compute_dtype(task.settings.training, device)
    inputs = read_inputs(task.settings, task.build)
    torch.set_num_threads(task.threads)
    with Lease(task.folder) as lease, StopRequest() as stop:
        engine = TorchEngine(build_model(task.settings), task.settings.training, device, dtype)
        return Attempt(task, inputs, engine, lease).go(stop)


def train_together(task: Task, stop: StopRequest) -> dict[str, Any]:
    """Train as one of several replicas; the first of them writes, and returns the counts."""
    device = _own_device(task)
    dtype = compute_dtype(task.settings.training, device)
    torch.set_num_threads(task.threads)
    inputs = read_inputs(task.settings, task.build)
    with joined(device) as replicas, Lease(task.folder) if replicas.is_first else nullcontext() as lease:
        engine = TorchEngine(build_model(task.settings), task.settings.training, device, dtype, replicas)
        return Attempt(task, inputs, engine, lease).go(stop)


def _own_device(task: Task) -> torch.device:
    """The device of this process among those of its node. Raises SettingsError if there are too few GPUs."""
    device = choose_device(task.layout.device)
    if device.type == "cpu":
        return device
    number, there, wanted = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count(), task.layout.processes_a_node
    if wanted > there:
        raise SettingsError(
            f"distributed.data_parallel: {task.layout.world_size} processes on {task.layout.nodes} nodes need {wanted} "
            f"GPUs on each, but {platform.node()} shows {there}; ask for more, or write processes_per_node {there}"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def build_model(settings: TrainStep) -> DeepSeekV3:
    """The model with its initial weights, the same in every process."""
    with torch.device("meta"):
        model = DeepSeekV3(settings.model)
    model.to_empty(device="cpu")
    initialize(model, settings.model, settings.training.seed)
    model.gradient_checkpointing = settings.training.gradient_checkpointing
    return model


class Attempt:
    """Trains from the last checkpoint on. With a lease this process writes for all; the others only compute."""

    def __init__(self, task: Task, inputs: Inputs, engine: TorchEngine, lease: Lease | None) -> None:
        settings = task.settings
        self._task = task
        self._settings = settings
        self._training = settings.training
        self._steps = settings.training.steps(settings.seq_len)
        self._build = task.build
        self._folder = task.folder
        self._identity = identity(settings)
        self._evaluation = EvaluationSettings.parse(task.build.execution.get("evaluation", {}), "evaluation")
        self._inputs = inputs
        self._name = f"train {task.build.one('validation').name.split('/')[1]}"
        self._engine = engine
        self._replicas = engine.replicas
        self._best_flops = 1.0  # measured only where it is told
        if lease is not None:
            self._best_flops = self._replicas.size * peak_flops(engine.device, engine.dtype)
        self._flops_per_token = training_flops_per_token(settings.model, settings.seq_len)
        self._lease = lease
        self._is_final_saved = False
        margin = settings.training.checkpoints.margin_seconds
        self._wall_time = WallTime(task.job_end, margin, longest_save(self._folder))

    def go(self, stop: StopRequest) -> dict[str, Any]:
        """Train to the end and write the artifact's files. Returns the counts, those of the first replica."""
        progress = Progress(self._name, self._steps, quiet=self._lease is None)
        position = self._resume(progress)
        hosts = list(dict.fromkeys(self._replicas.gather(platform.node())))
        if self._lease is None:
            self._train(position, None, progress, stop)
            return {}
        log = MetricsLog(self._folder, position.step, self._training.wandb_project, self._name)
        self._record_start(position, hosts)
        progress.start(position.step, self._describe(position))
        try:
            position = self._train(position, log, progress, stop)
        except Stopped as stopped:
            record(self._folder, "stop", stopped.step, cause=stopped.cause, saved=stopped.saved)
            progress.say(stopped.message)
            raise
        finally:
            log.close()
            progress.close()
        self._finish(position, log, progress)
        return self._counts(position, log)

    def _record_start(self, position: Position, hosts: list[str]) -> None:
        record(
            self._folder,
            "start",
            position.step,
            code=self._build.code,
            execution=dict(self._build.execution),
            processes=self._replicas.size,
            layout=self._layout(),
            hosts=hosts,
            restarts=restarts(),
        )

    def _resume(self, progress: Progress) -> Position:
        """Continue from the newest checkpoint that is whole, or begin; all replicas from the same.

        The folder is that of this very run, so `final` in it is its end: a kill came before the artifact was complete,
        or another of the artifact's files was lost.
        """
        final = self._build.folder / FINAL
        saved: Saved | None = None
        if self._lease is not None:
            folders = [*checkpoints(self._folder), *([final] if final.is_dir() else [])]
            saved = newest_whole(folders, progress.say)
        saved = self._replicas.hear(saved)
        if saved is None:
            return Position()
        state = self._engine.state()
        position = load_checkpoint(saved, state, self._identity)
        self._engine.restore(state)
        self._is_final_saved = saved.folder == final
        return position

    def _train(self, position: Position, log: MetricsLog | None, progress: Progress, stop: StopRequest) -> Position:
        """Train from a position to the end. All replicas come to the same conclusions at the same steps."""
        mfu_per_rate = self._flops_per_token / self._best_flops
        trainer = Trainer(self._settings, self._engine, log, progress, self._inputs.pad_id, mfu_per_rate)
        batch, part, parts = self._training.global_batch_size, self._replicas.rank, self._replicas.size
        rows = batches(self._inputs.rows, position.samples, batch, part=part, parts=parts)

        def save(position: Position) -> bool:
            sound = self._is_sound(position, progress)
            if sound:
                self._save(position, log)
            return sound

        def after_step(position: Position) -> None:
            validates, saves = self._is_validation_due(position), self._is_checkpoint_due(position)
            if (validates or saves) and self._is_sound(position, progress):
                if validates and log is not None:
                    self._validate(position, log)
                if saves:
                    self._save(position, log)

        if log is not None and self._is_validation_due(position) and not log.is_validated(position.step):
            self._validate(position, log)  # asked to stop, the attempt before saved without it
        self._require_time(position)
        position = trainer.train(position, rows, stop, self._wall_time, after_step, save)
        self._require_sound_end(position)
        return position

    def _require_time(self, position: Position) -> None:
        """Raise TrainingError if no step fits into the job: it would be queued again for ever."""
        if position.step < self._steps and self._replicas.agree(self._wall_time.is_near()):
            left = max(0.0, self._wall_time.seconds_left())
            raise TrainingError(
                f"the job ends in {left:.0f} seconds, and training.checkpoints.margin_seconds is "
                f"{self._training.checkpoints.margin_seconds}: not a single step would fit; give the job a longer wall "
                "time (the resource runtime), or write a smaller margin_seconds"
            )

    def _require_sound_end(self, position: Position) -> None:
        """Raise TrainingError if the final state is spoilt, or differs between replicas."""
        if not self._engine.is_finite():
            raise TrainingError(
                f"step {position.step}: the weights or the optimizer's averages are not finite at the end; "
                "lower training.lr or lengthen training.schedule.warmup_tokens"
            )
        self._replicas.require_equal(self._engine.checksum(), position.step)

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

    def _save(self, position: Position, log: MetricsLog | None) -> None:
        """Write a checkpoint, after making sure that it is that of every replica."""
        self._replicas.require_equal(self._engine.checksum(), position.step)
        if self._lease is None or log is None:
            return
        started = time.monotonic()
        self._lease.require()
        log.sync()
        folder = checkpoint_folder(self._folder, position.step)
        save_checkpoint(folder, self._engine.state(), position, self._identity)
        seconds = time.monotonic() - started
        self._wall_time.note_save(seconds)
        record(self._folder, "checkpoint", position.step, seconds=round(seconds, 3))
        if not position.skipped_in_a_row:
            prune_checkpoints(folder, self._training.checkpoints.keep_last)

    def _finish(self, position: Position, log: MetricsLog, progress: Progress) -> None:
        """Write the artifact's files."""
        assert self._lease is not None
        self._lease.require()
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
        layout = f", {self._layout()}" if self._replicas.size > 1 else ""
        begin = f"continuing after step {position.step}" if position.step else "starting"
        return (
            f"{begin} on {self._engine.device}{layout}; {size.total / 1e6:.1f} M parameters ({size.active / 1e6:.1f} M "
            f"active, MTP {size.mtp / 1e6:.1f} M besides); {len(self._inputs.rows):,} rows of "
            f"{self._settings.seq_len} tokens"
        )

    def _layout(self) -> str:
        """The processes and how they talk, for people."""
        layout = self._task.layout
        if layout.world_size == 1:
            return "1 process"
        nodes = "1 node" if layout.nodes == 1 else f"{layout.nodes} nodes"
        backend = "nccl" if self._engine.device.type == "cuda" else "gloo"
        return f"{nodes} x {layout.processes_a_node} processes, {backend}"

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
            "processes": self._replicas.size,
        }
