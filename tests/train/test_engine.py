"""The engine against a plain loop, and its micro-batches against one batch."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.model.balance import moe_layers
from pipeline.train.attempt import build_model
from pipeline.train.engine import TorchEngine, target_shares
from pipeline.train.optimizer import decay_groups
from pipeline.train.replicas import Replicas

PAD = 2


def test_norms_do_not_decay_and_every_parameter_is_in_one_group(short_stage: Any) -> None:
    model = build_model(short_stage.settings())
    decaying, resting = decay_groups(model, 0.1)
    assert (decaying["weight_decay"], resting["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    undecayed = {names[id(parameter)] for parameter in resting["params"]}
    assert undecayed == {name for name in names.values() if "norm" in name}
    assert len(decaying["params"]) + len(resting["params"]) == len(names)


def test_a_fresh_engine_has_the_weights_and_averages_of_a_fresh_optimizer(short_stage: Any) -> None:
    settings = short_stage.settings()
    engine, model = short_stage.engine(settings), build_model(settings)
    for name, tensor in model.state_dict().items():
        assert torch.equal(engine.model.state_dict()[name], tensor), name
    optimizer = engine.state()["optimizer"]
    assert {name.rpartition(".")[2] for name in optimizer} == {"step", "exp_avg", "exp_avg_sq"}
    assert len(optimizer) == 3 * len(list(model.parameters()))
    assert all(not tensor.any() for tensor in optimizer.values())
    assert all(parameter.grad is None for parameter in engine.model.parameters())


def test_three_steps_equal_a_plain_torch_loop(short_stage: Any) -> None:
    settings = short_stage.settings(micro_batch_size=4, weight_decay=0.3)
    engine, model = short_stage.engine(settings), build_model(settings)
    norms = [p for p in model.parameters() if p.ndim == 1]
    others = [p for p in model.parameters() if p.ndim > 1]
    groups = [{"params": others, "weight_decay": 0.3}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, fused=False, foreach=False)
    for step, rows in enumerate(short_stage.rows().split(4)[:3]):
        lr = 0.001 * (step + 1)
        found = engine.accumulate(rows, PAD, 0.3, 1)
        norm = engine.clip()
        engine.update(lr, 0.01)

        losses = model.losses(rows, PAD)
        loss = losses.next_token + 0.3 * sum(losses.mtp) / 2 + losses.sequence_balance + losses.switch_balance
        loss.backward()  # type: ignore[no-untyped-call]
        assert found.loss == pytest.approx(loss.item(), rel=1e-6)
        assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item(), rel=1e-5)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad()
        for _, layer in moe_layers(model):
            load = layer.expert_counts.float()
            layer.e_score_correction_bias.add_(0.01 * (load.mean() - load).sign())
            layer.expert_counts.zero_()
    for (name, ours), plain in zip(engine.model.state_dict().items(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("padded", [False, True])
def test_micro_batches_add_up_to_the_batch(short_stage: Any, padded: bool) -> None:
    rows = short_stage.rows()[:4].clone()
    if padded:
        rows[0, 5:] = PAD
        rows[1, 40:] = PAD
    losses, gradients = [], []
    for size in (4, 2, 1):
        engine = short_stage.engine(short_stage.settings(micro_batch_size=size))
        losses.append(engine.accumulate(rows, PAD, 0.3, 1))
        gradients.append([parameter.grad for parameter in engine.model.parameters()])
    for other in losses[1:]:
        assert other.loss == pytest.approx(losses[0].loss, abs=1e-6)
        assert other.next_token == pytest.approx(losses[0].next_token, abs=1e-6)
        assert other.mtp == pytest.approx(losses[0].mtp, abs=1e-6)
        assert other.sequence_balance == pytest.approx(losses[0].sequence_balance, abs=1e-6)
    for other in gradients[1:]:
        for found, wanted in zip(other, gradients[0], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)


def test_a_share_is_that_of_the_targets_and_rows_without_any_have_none() -> None:
    valid = torch.ones(4, 8, dtype=torch.bool)
    valid[0, 3:] = False
    valid[1] = False
    shares = target_shares(valid, 1, 2, Replicas())
    assert shares[:, 0].tolist() == [2 / 14, 12 / 14]
    assert shares[:, 1].tolist() == [1 / 13, 12 / 13]
    assert target_shares(torch.zeros_like(valid), 1, 2, Replicas()).tolist() == [[0, 0], [0, 0]]


def test_the_busiest_expert_is_measured_by_its_layers_mean(short_stage: Any) -> None:
    engine = short_stage.engine(short_stage.settings())
    for number, (_, layer) in enumerate(moe_layers(engine.model)):
        layer.expert_counts.copy_(torch.tensor([4, 4, 4, 4 + 8 * number]))
    assert engine.max_expert_load() == pytest.approx(28 / 10)
    engine.discard()
    assert all(not layer.expert_counts.any() for _, layer in moe_layers(engine.model))


def _spoil_average(engine: TorchEngine) -> None:
    next(value for name, value in engine.state()["optimizer"].items() if name.endswith("exp_avg_sq"))[0] = math.inf


def _spoil_weight(engine: TorchEngine) -> None:
    engine.model.norm.weight.data[3] = math.nan


def _spoil_bias(engine: TorchEngine) -> None:
    name = next(name for name, _ in engine.model.named_buffers() if name.endswith("e_score_correction_bias"))
    engine.model.get_buffer(name)[0] = math.nan


@pytest.mark.parametrize("spoil", [_spoil_average, _spoil_weight, _spoil_bias])
def test_a_weight_a_bias_or_an_average_that_is_not_finite_is_noticed(
    short_stage: Any, spoil: Callable[[TorchEngine], None]
) -> None:
    engine = short_stage.engine(short_stage.settings())
    assert engine.is_finite()
    spoil(engine)
    assert not engine.is_finite()
