"""The loop: skipped steps, stops between steps, and going on exactly where it stood."""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.settings.training import TrainStep
from pipeline.shards.batches import batches
from pipeline.shards.rows import Rows
from pipeline.train.attempt import build_model
from pipeline.train.checkpoint import Position, load_checkpoint, read_checkpoint, save_checkpoint
from pipeline.train.engine import TorchEngine
from pipeline.train.metrics import MetricsLog
from pipeline.train.progress import Progress
from pipeline.train.signals import Stopped, StopRequest
from pipeline.train.trainer import Trainer
from pipeline.train.walltime import WallTime

PAD = 2
AfterStep = Callable[[TorchEngine, Position], None]


class Loop:
    """A trainer with all it needs, but for what happens after a step."""

    def __init__(self, stage: Any, settings: TrainStep, folder: Path) -> None:
        self.engine = stage.engine(settings)
        self.folder = folder
        self._rows = Rows([stage.inputs["shards"]])
        self._settings = settings

    def run(self, position: Position, after_step: AfterStep, saves: list[Position] | None = None) -> Position:
        log = MetricsLog(self.folder, position.step)
        trainer = Trainer(self._settings, self.engine, log, Progress("loop", 12), PAD, 1e-6)
        found = batches(self._rows, position.samples, self._settings.training.global_batch_size)

        def save(at: Position) -> bool:
            (saves if saves is not None else []).append(at)
            return True

        with StopRequest() as stop:
            return trainer.train(position, found, stop, WallTime(None, 0), lambda at: after_step(self.engine, at), save)


def _spoil(engine: TorchEngine, step: int, at: int, kept: dict[str, torch.Tensor]) -> None:
    """Make a weight not a number after a step, and put it back after the next."""
    weight = engine.model.norm.weight.data
    if step == at:
        kept["weight"] = weight.clone()
        weight[0] = math.nan
    elif step == at + 1:
        weight.copy_(kept["weight"])


def test_a_skipped_step_changes_nothing_but_the_position_and_the_ledger(
    short_stage: Any, tmp_path: Path, weights_of: Callable[..., dict[str, torch.Tensor]]
) -> None:
    loop = Loop(short_stage, short_stage.settings(), tmp_path)
    states: dict[int, Any] = {}
    positions: dict[int, Position] = {}
    kept: dict[str, torch.Tensor] = {}

    def after_step(engine: TorchEngine, position: Position) -> None:
        positions[position.step] = position
        if position.step in (4, 6):
            states[position.step] = weights_of(engine.model)
        _spoil(engine, position.step, 4, kept)
        if position.step == 5:
            states[5] = weights_of(engine.model)
            averages = {name: tensor for name, tensor in engine.state()["optimizer"].items() if name.endswith("step")}
            assert {int(tensor) for tensor in averages.values()} == {4}

    assert loop.run(Position(), after_step) == Position(12, 48, 3072, skipped_in_a_row=0, skipped=1)
    assert positions[5] == Position(5, 20, 1280, skipped_in_a_row=1, skipped=1)
    assert positions[6].skipped_in_a_row == 0
    assert any("e_score_correction_bias" in name and states[4][name].any() for name in states[4])
    for name, tensor in states[4].items():
        assert torch.equal(states[5][name], tensor), name
    assert any(not torch.equal(states[6][name], tensor) for name, tensor in states[5].items())
    (entry,) = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert entry == {"step": 5, "first_sample": 16, "last_sample": 19, "loss": "nan", "grad_norm": "nan"}
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["skipped"]] == [5]
    assert rows[4]["loss"] is None


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_resumed_run_equals_an_uninterrupted_one(
    short_stage: Any, tmp_path: Path, dropout: float, weights_of: Callable[..., dict[str, torch.Tensor]]
) -> None:
    """The first is saved after a skipped step and goes on; another continues from what was saved."""
    settings = short_stage.settings({"dropout": dropout})
    whole = Loop(short_stage, settings, tmp_path / "whole")
    kept: dict[str, torch.Tensor] = {}

    def spoil_and_save(engine: TorchEngine, position: Position) -> None:
        _spoil(engine, position.step, 6, kept)
        if position.step == 7:
            save_checkpoint(tmp_path / "saved", engine.state(), position, {})

    end = whole.run(Position(), spoil_and_save)
    torch.manual_seed(99)
    other = Loop(short_stage, settings, tmp_path / "other")
    state = other.engine.state()
    position = load_checkpoint(read_checkpoint(tmp_path / "saved"), state, {})
    assert (position.step, position.skipped, position.skipped_in_a_row) == (7, 1, 1)
    other.engine.restore(state)
    assert other.run(position, lambda engine, at: None) == end
    for name, tensor in weights_of(whole.engine.model).items():
        assert torch.equal(weights_of(other.engine.model)[name], tensor), name
    ours, theirs = (loop.engine.state()["optimizer"] for loop in (other, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_dropout_depends_on_seed_step_and_micro_batch_and_on_nothing_before(short_stage: Any) -> None:
    settings = short_stage.settings({"dropout": 0.2})

    def loss(step: int, seed: int = 0) -> float:
        torch.manual_seed(time.perf_counter_ns())
        stage = short_stage.settings({"dropout": 0.2}, seed=seed)
        engine = TorchEngine(build_model(settings), stage.training, torch.device("cpu"), torch.float32)
        found: float = engine.accumulate(short_stage.rows()[:4], PAD, 0.3, step).loss
        return found

    assert loss(1) == loss(1)
    assert len({loss(1), loss(2), loss(1, seed=1)}) == 3
    twice = short_stage.rows()[:2].repeat(2, 1)
    halves = [short_stage.engine(settings).accumulate(rows, PAD, 0.3, 1).loss for rows in (twice, twice[:2])]
    assert halves[0] != halves[1], "equal rows in the second micro-batch meet other numbers"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_stop_saves_after_the_step_in_progress(short_stage: Any, tmp_path: Path, number: signal.Signals) -> None:
    loop = Loop(short_stage, short_stage.settings(), tmp_path)
    saves: list[Position] = []
    seen: list[int] = []

    def after_step(engine: TorchEngine, position: Position) -> None:
        seen.append(position.step)
        if position.step == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped) as stopped:
        loop.run(Position(), after_step, saves)
    assert stopped.value.code == 128 + number
    assert [position.step for position in saves] == [3]
    assert seen == [1, 2], "the validation after step 3 is left to the next attempt"


def test_a_stop_in_the_last_step_saves_too(short_stage: Any, tmp_path: Path) -> None:
    loop = Loop(short_stage, short_stage.settings(), tmp_path)
    saves: list[Position] = []
    with pytest.raises(Stopped):
        loop.run(Position(), lambda engine, at: os.kill(os.getpid(), signal.SIGTERM) if at.step == 11 else None, saves)
    assert [position.step for position in saves] == [12]
    assert Loop(short_stage, short_stage.settings(), tmp_path).run(saves[0], lambda engine, at: None) == saves[0]
