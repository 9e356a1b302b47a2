"""The torch engine: forward, backward and update of one replica. Another engine or layout has the same methods."""

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from pipeline.model.balance import moe_layers, reset_counts, update_biases
from pipeline.model.deepseek import DeepSeekV3, Losses
from pipeline.settings.training import TrainingSettings
from pipeline.train.optimizer import build_optimizer
from pipeline.train.replicas import Replicas

FLAT = StateDictOptions(flatten_optimizer_state_dict=True)
"""Optimizer state by parameter name, so that another layout finds it."""


@dataclass(frozen=True)
class StepLosses:
    """The losses of one step, means over its targets (balance losses: over its micro-batches)."""

    loss: float
    """What was differentiated: the sum below with the MTP weight."""
    next_token: float
    mtp: tuple[float, ...]
    sequence_balance: float
    switch_balance: float


def target_shares(valid: torch.Tensor, mtp_depth: int, micro_batches: int, replicas: Replicas) -> torch.Tensor:
    """Each micro-batch's share of the targets, of the next token and each MTP depth: float64 [parts, 1 + depth].

    valid [rows, width] is false at padding. Means over micro-batches, so weighted, are the mean over all targets of all
    replicas.
    """
    length = valid.shape[1] - 1 - mtp_depth
    targets = torch.stack([valid[:, ahead : ahead + length].sum(1) for ahead in range(1, 2 + mtp_depth)], -1)
    parts = targets.view(micro_batches, -1, 1 + mtp_depth).sum(1).double()
    return parts / replicas.sum(parts.sum(0)).clamp(min=1)


def seed_micro_batch(seed: int, step: int, micro_batch: int) -> None:
    """Seed dropout by the micro-batch's number in its step alone.

    So any layout and any resumed run draws the same numbers, and no random state has to be saved.
    """
    name = f"{seed} {step} {micro_batch}".encode()
    torch.manual_seed(int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") >> 1)


def _scale(losses: Losses, share: list[float], micro_batch_share: float) -> Losses:
    next_token, *mtp = share
    return Losses(
        next_token=losses.next_token * next_token,
        mtp=tuple(loss * part for loss, part in zip(losses.mtp, mtp, strict=True)),
        sequence_balance=losses.sequence_balance * micro_batch_share,
        switch_balance=losses.switch_balance * micro_batch_share,
    )


class TorchEngine:
    """Trains a model on one device, together with the other replicas."""

    def __init__(
        self,
        model: DeepSeekV3,
        settings: TrainingSettings,
        device: torch.device,
        dtype: torch.dtype,
        replicas: Replicas | None = None,
    ) -> None:
        self.model = model.to(device).train()
        self.device = device
        self.replicas = replicas or Replicas()
        self._settings = settings
        self.dtype = dtype
        """Of matrix products; weights are fp32."""
        self._optimizer = build_optimizer(self.model, settings)
        self._prepare_state()

    def accumulate(self, rows: torch.Tensor, pad_id: int, mtp_weight: float, step: int) -> StepLosses:
        """Forward and backward of this replica's part [rows, width] of a global batch, in micro-batches.

        Gradients, summed over all replicas, are left in place, and the experts' counts too. The losses are those of the
        whole global batch; `step` is its number.
        """
        assert len(rows) % self._settings.micro_batch_size == 0
        micro_batches = len(rows) // self._settings.micro_batch_size
        depth = self.model.settings.mtp_depth
        sums = torch.zeros(4 + depth, dtype=torch.float64, device=self.device)
        shares = target_shares(rows != pad_id, depth, micro_batches, self.replicas).tolist()
        first = self.replicas.rank * micro_batches
        for number, (part, share) in enumerate(zip(rows.chunk(micro_batches), shares, strict=True), first):
            seed_micro_batch(self._settings.seed, step, number)
            with self._autocast():
                losses = self.model.losses(part.to(self.device, non_blocking=True), pad_id)
                losses = _scale(losses, share, 1 / (micro_batches * self.replicas.size))
                total = losses.total(mtp_weight)
            total.backward()  # type: ignore[no-untyped-call]
            scalars = (total, losses.next_token, losses.sequence_balance, losses.switch_balance, *losses.mtp)
            sums += torch.stack([scalar.detach().double() for scalar in scalars])
        self._sum_over_replicas()
        loss, next_token, sequence, switch, *mtp = self.replicas.sum(sums).tolist()
        return StepLosses(loss, next_token, tuple(mtp), sequence, switch)

    def clip(self) -> float:
        """Scale the gradients down to `clip_grad_norm` and return their norm before, not finite if any was not."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._settings.clip_grad_norm)
        return float(norm)

    def update(self, lr: float, bias_speed: float) -> None:
        """One optimizer step, and one step of the router biases towards even load."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        if bias_speed > 0:
            update_biases(self.model, bias_speed)
        self.discard()

    def discard(self) -> None:
        """Forget gradients and expert counts."""
        self._optimizer.zero_grad(set_to_none=True)
        reset_counts(self.model)

    def is_finite(self) -> bool:
        """Whether all weights, router biases and averages of the optimizer are finite, in every replica."""
        state = self.state()
        tensors = (*state["model"].values(), *state["optimizer"].values())
        finite = torch.stack([tensor.isfinite().all().to(self.device) for tensor in tensors]).all()
        return not self.replicas.agree(not bool(finite))

    def checksum(self) -> float:
        """A number that differs where the weights, router biases or averages of two replicas do."""
        state = self.state()
        tensors = (*state["model"].values(), *state["optimizer"].values())
        return float(torch.stack([tensor.sum(dtype=torch.float64).to(self.device) for tensor in tensors]).sum())

    def max_expert_load(self) -> float:
        """The busiest expert's tokens over the mean of its layer, at its worst over the layers, in the step so far."""
        counts = [layer.expert_counts.double() for _, layer in moe_layers(self.model)]
        return max((float(count.max() / count.mean().clamp(min=1e-9)) for count in counts), default=0.0)

    def state(self) -> dict[str, Any]:
        """Every tensor that a resumed run needs: weights, router biases, optimizer."""
        return {
            "model": self.model.state_dict(),
            "optimizer": {key: value for key, value in self._optimizer_state().items() if torch.is_tensor(value)},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state whose tensors were loaded."""
        self.model.load_state_dict(state["model"])
        # Settings of the optimizer (betas, decay) come from the stage's file, its averages from the checkpoint.
        optimizer = {**self._optimizer_state(), **state["optimizer"]}
        set_optimizer_state_dict(self.model, self._optimizer, optimizer, options=FLAT)

    def _sum_over_replicas(self) -> None:
        self.replicas.sum_gradients(self.model.parameters())
        layers = [layer for _, layer in moe_layers(self.model)]
        if layers:
            counts = self.replicas.sum(torch.stack([layer.expert_counts for layer in layers]))
            for layer, count in zip(layers, counts, strict=True):
                layer.expert_counts.copy_(count)

    def _optimizer_state(self) -> dict[str, Any]:
        return get_optimizer_state_dict(self.model, self._optimizer, options=FLAT)

    def _prepare_state(self) -> None:
        """Give the optimizer its (zero) averages now, so that a checkpoint has somewhere to be loaded into."""
        for group in self._optimizer.param_groups:
            group["lr"] = 0.0
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self._optimizer.step()
        for state in self._optimizer.state.values():
            state["step"].zero_()
        self.discard()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)
