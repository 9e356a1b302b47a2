"""DeepSeek-V3 (arXiv 2412.19437) in plain torch: parallelism, precision and compilation come from outside."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.model.balance import expert_load, sequence_loss, switch_loss
from pipeline.model.block import Block
from pipeline.model.loss import mean_cross_entropy, token_scores
from pipeline.model.moe import MoE
from pipeline.model.mtp import MTPModule
from pipeline.model.norm import RMSNorm
from pipeline.model.rope import Rotation, rotation
from pipeline.model.router import Routing
from pipeline.settings.model import ModelSettings


@dataclass(frozen=True)
class Losses:
    """The parts of the training loss: scalars with gradients."""

    next_token: Tensor
    """Mean cross-entropy of the next token in nats, over the targets that are not padding."""
    mtp: tuple[Tensor, ...]
    """The same for the token 1, 2, ... further ahead: one for each MTP module."""
    sequence_balance: Tensor
    """The sequence-wise balance losses, weighted, summed over the layers."""
    switch_balance: Tensor
    """The Switch losses, weighted, summed over the layers."""

    def total(self, mtp_weight: float) -> Tensor:
        """What training minimises (equations 24-25): the MTP losses enter with their mean times `mtp_weight`."""
        ahead = mtp_weight * torch.stack(self.mtp).mean() if self.mtp else 0.0
        return self.next_token + ahead + self.sequence_balance + self.switch_balance


@dataclass(frozen=True)
class Scores:
    """How well each token of some rows was predicted; no gradients."""

    nats: Tensor
    """[B, S] fp32: -log p of the next token; 0 where it is padding."""
    correct: Tensor
    """[B, S] bool: whether the next token was the most probable; false where it is padding."""
    mask: Tensor
    """[B, S] bool: where the next token is not padding."""
    mtp_correct: tuple[Tensor, ...]
    """[B, S] bool for each MTP module."""
    mtp_mask: tuple[Tensor, ...]
    """[B, S] bool for each MTP module."""
    expert_counts: Tensor
    """[layers, num_experts] int64: the tokens that each expert got, in the order of `balance.moe_layers`."""


class Routed(NamedTuple):
    """What one expert layer decided, and which tokens count."""

    moe: MoE
    routing: Routing
    mask: Tensor


class Prediction(NamedTuple):
    """The normed hidden states that predict one token ahead, or more."""

    hidden: Tensor
    """[B, S, hidden_size]"""
    targets: Tensor
    """[B, S] int64"""
    mask: Tensor
    """[B, S] bool: where the target is not padding."""


class DeepSeekV3(nn.Module):
    """Embedding, layers, norm, output head, and the MTP modules that share embedding and head.

    Layers are numbered in their names, so a part of the model keeps the names of the whole.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.gradient_checkpointing = False
        """Recompute each layer in the backward pass instead of keeping its activations."""
        dense = set(settings.dense_layers)
        self.embed_tokens = nn.Embedding(settings.vocab_size, settings.hidden_size)
        self.layers = nn.ModuleDict({str(i): Block(settings, i not in dense) for i in range(settings.num_layers)})
        self.norm = RMSNorm(settings.hidden_size, settings.rms_norm_eps)
        self.lm_head = nn.Linear(settings.hidden_size, settings.vocab_size, bias=False)
        self.mtp = nn.ModuleDict({str(depth): MTPModule(settings) for depth in range(settings.mtp_depth)})

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [B, S, vocab_size] of the next tokens: tokens [B, S] int64."""
        everywhere = torch.ones_like(tokens, dtype=torch.bool)
        return self.lm_head(self._trunk(tokens, everywhere, self._rotation(tokens), []))

    def losses(self, rows: Tensor, pad_id: int) -> Losses:
        """The training losses of rows [B, S + 1 + mtp_depth] int64, whose padding is `pad_id`."""
        routed: list[Routed] = []
        means = tuple(self._mean_loss(prediction) for prediction in self._predictions(rows, pad_id, routed))
        return Losses(means[0], means[1:], self._sequence_balance(routed), self._switch_balance(routed))

    @torch.no_grad()
    def scores(self, rows: Tensor, pad_id: int) -> Scores:
        """Score every target of rows [B, S + 1 + mtp_depth]; call it in eval mode."""
        routed: list[Routed] = []
        nats, correct, masks = [], [], []
        for hidden, targets, mask in self._predictions(rows, pad_id, routed):
            found = token_scores(hidden.flatten(0, 1), self.lm_head.weight, targets.flatten())
            nats.append(found.nats.view_as(targets) * mask)
            correct.append(found.correct.view_as(targets) & mask)
            masks.append(mask)
        loads = [expert_load(routing.experts, moe.gate.moe.num_experts, mask) for moe, routing, mask in routed]
        counts = torch.stack(loads) if loads else rows.new_zeros(0, self.settings.moe.num_experts)
        return Scores(nats[0], correct[0], masks[0], tuple(correct[1:]), tuple(masks[1:]), counts)

    def _predictions(self, rows: Tensor, pad_id: int, routed: list[Routed]) -> Iterator[Prediction]:
        """The predictions of the next token, then of each MTP module; `routed` collects the routings."""
        length = rows.shape[1] - 1 - len(self.mtp)
        if length < 1:
            raise ValueError(f"rows of {rows.shape[1]} tokens leave nothing to predict at MTP depth {len(self.mtp)}")
        valid = rows != pad_id
        by = self._rotation(rows[:, :length])
        hidden = self._trunk(rows[:, :length], valid[:, :length], by, routed)
        yield self._prediction(hidden, rows, valid, ahead=1)
        for depth, module in enumerate(self.mtp.values(), start=1):
            inputs = slice(depth, depth + length)
            arguments = (hidden, self.embed_tokens(rows[:, inputs]), by)
            hidden = self._run(module, module.block.mlp, arguments, valid[:, inputs], routed)
            yield self._prediction(hidden, rows, valid, ahead=1 + depth)

    @staticmethod
    def _prediction(hidden: Tensor, rows: Tensor, valid: Tensor, ahead: int) -> Prediction:
        targets = slice(ahead, ahead + hidden.shape[1])
        return Prediction(hidden, rows[:, targets], valid[:, targets])

    def _rotation(self, tokens: Tensor) -> Rotation:
        settings, length = self.settings, tokens.shape[1]
        if length > settings.max_position_embeddings:
            raise ValueError(
                f"a sequence of {length} tokens exceeds model.max_position_embeddings"
                f" {settings.max_position_embeddings}; shorten it or raise that"
            )
        return rotation(length, settings.mla.qk_rope_head_dim, settings.rope, tokens.device)

    def _trunk(self, tokens: Tensor, mask: Tensor, by: Rotation, routed: list[Routed]) -> Tensor:
        """The main model's normed hidden states [B, S, hidden_size]."""
        x = self.embed_tokens(tokens)
        for block in self.layers.values():
            x = self._run(block, block.mlp, (x, by), mask, routed)
        return self.norm(x)

    def _run(
        self, layer: nn.Module, mlp: nn.Module, arguments: tuple[Any, ...], mask: Tensor, routed: list[Routed]
    ) -> Tensor:
        """Run a layer, which returns hidden states and routing; count its routing once, however often it runs."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            x, routing = checkpoint(layer, *arguments, use_reentrant=False)
        else:
            x, routing = layer(*arguments)
        if routing is not None:
            routed.append(Routed(mlp, routing, mask))
            if self.training:
                mlp.expert_counts.add_(expert_load(routing.experts, len(mlp.expert_counts), mask))
        return x

    def _mean_loss(self, prediction: Prediction) -> Tensor:
        hidden, targets, mask = prediction
        return mean_cross_entropy(hidden.flatten(0, 1), self.lm_head.weight, targets.flatten(), mask.flatten())

    def _sequence_balance(self, routed: list[Routed]) -> Tensor:
        weight, top_k = self.settings.moe.sequence_loss_weight, self.settings.moe.top_k
        losses = (sequence_loss(routing.scores, top_k, mask) for _, routing, mask in routed) if weight else ()
        return self._weighted_sum(weight, losses)

    def _switch_balance(self, routed: list[Routed]) -> Tensor:
        weight = self.settings.moe.router_aux_loss_weight
        losses = (switch_loss(routing.scores, routing.experts, mask) for _, routing, mask in routed) if weight else ()
        return self._weighted_sum(weight, losses)

    def _weighted_sum(self, weight: float, losses: Iterator[Tensor] | tuple[()]) -> Tensor:
        return sum((weight * loss for loss in losses), torch.zeros((), device=self.lm_head.weight.device))
