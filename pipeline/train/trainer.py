"""The training loop: rows in order, one optimizer step after the other, until the stage's tokens are done."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from pipeline.settings.training import TrainStep
from pipeline.train.checkpoint import Position
from pipeline.train.engine import StepLosses, TorchEngine
from pipeline.train.metrics import MetricsLog
from pipeline.train.outcome import TrainingError
from pipeline.train.progress import Progress
from pipeline.train.schedule import bias_update_speed, learning_rate, mtp_weight
from pipeline.train.signals import WALL_TIME, Stopped, StopRequest
from pipeline.train.walltime import WallTime


class Trainer:
    """Drives an engine through a stage from a position on."""

    def __init__(
        self,
        settings: TrainStep,
        engine: TorchEngine,
        log: MetricsLog | None,
        progress: Progress,
        pad_id: int,
        mfu_per_rate: float,
    ) -> None:
        """`mfu_per_rate` is the model-FLOPs utilisation at one token a second. Without a `log` nothing is reported."""
        self._training = settings.training
        self._bias_speed = settings.model.moe.bias_update_speed
        self._engine = engine
        self._log = log
        self._progress = progress
        self._pad_id = pad_id
        self._tokens_per_row = settings.seq_len
        self._steps = settings.training.steps(settings.seq_len)
        self._mfu_per_rate = mfu_per_rate

    def train(
        self,
        position: Position,
        batches: Iterable[tuple[int, np.ndarray]],
        stop: StopRequest,
        wall_time: WallTime,
        after_step: Callable[[Position], None],
        save: Callable[[Position], bool],
    ) -> Position:
        """Train to the end of the stage.

        `batches` gives this replica's part of the global batches from `position` on: the batch's first sample and int64
        [rows, width]. `after_step` is called after every step, but where any replica is asked to stop, or the wall time
        is near, `save`, at once, which tells whether it did; then Stopped is raised. Raises TrainingError when too many
        steps in a row are not finite.
        """
        wall_time.begin()
        for first_sample, batch in batches:
            assert first_sample == position.samples, "no row is skipped or seen twice"
            position = self._step(position, torch.from_numpy(batch))
            self._refuse_to_go_astray(position)
            near = wall_time.is_near()
            if reason := self._engine.replicas.largest(stop.reason() or (WALL_TIME if near else 0)):
                raise Stopped(reason, position.step, save(position))
            after_step(position)
        assert position.step == self._steps, "the stage has as many batches as steps"
        return position

    def _step(self, before: Position, batch: torch.Tensor) -> Position:
        started = time.perf_counter()
        rows = self._training.global_batch_size
        tokens = before.tokens + rows * self._tokens_per_row
        training = self._training
        weight = mtp_weight(before.tokens, training.total_tokens, training.mtp_weight)
        lr = learning_rate(tokens, training.lr, training.total_tokens, training.schedule)
        losses = self._engine.accumulate(batch, self._pad_id, weight, before.step + 1)
        norm = self._engine.clip()
        finite = math.isfinite(losses.loss) and math.isfinite(norm)
        busiest = self._engine.max_expert_load()
        skip = self._engine.replicas.agree(not finite)
        if skip:
            self._engine.discard()
        else:
            fraction = training.bias_update_until_fraction
            self._engine.update(lr, bias_update_speed(tokens, training.total_tokens, self._bias_speed, fraction))
        seconds = time.perf_counter() - started
        after = Position(
            step=before.step + 1,
            samples=before.samples + rows,
            tokens=tokens,
            skipped_in_a_row=before.skipped_in_a_row + 1 if skip else 0,
            skipped=before.skipped + skip,
        )
        row = {**_flat(losses), "lr": lr, "mtp_weight": weight, "grad_norm": norm, "max_expert_load": busiest}
        if self._log is not None:
            self._report(self._log, before, after, row, seconds)
        return after

    def _report(self, log: MetricsLog, before: Position, after: Position, row: dict[str, Any], seconds: float) -> None:
        skip = after.skipped > before.skipped
        if skip:
            first, last = before.samples, after.samples - 1
            found = {"loss": str(row["loss"]), "grad_norm": str(row["grad_norm"])}
            log.log_skip({"step": after.step, "first_sample": first, "last_sample": last, **found})
            self._progress.say(f"step {after.step} skipped: loss {row['loss']}, gradient norm {row['grad_norm']}")
            row = {key: value if math.isfinite(value) else None for key, value in row.items()}
        rate = (after.tokens - before.tokens) / seconds
        mfu = rate * self._mfu_per_rate
        timing = {"seconds": seconds, "tokens_per_second": rate, "mfu": mfu}
        log.log_step({"step": after.step, "tokens": after.tokens, "skipped": skip, **row, **timing})
        self._progress.show(after.step, row["next_token"], rate, mfu)

    def _refuse_to_go_astray(self, position: Position) -> None:
        allowed = self._training.max_skipped_steps
        if position.skipped_in_a_row > allowed:
            raise TrainingError(
                f"step {position.step}: {position.skipped_in_a_row} steps in a row had a loss or gradient that is not "
                f"finite (training.max_skipped_steps: {allowed}); run/skipped.jsonl lists their rows. "
                "Lower training.lr or lengthen training.schedule.warmup_tokens"
            )


def _flat(losses: StepLosses) -> dict[str, float]:
    plain = asdict(replace(losses, mtp=()))
    del plain["mtp"]
    return {**plain, **{f"mtp_{depth}": value for depth, value in enumerate(losses.mtp)}}
