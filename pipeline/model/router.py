"""The router: which experts a token goes to, and with what weight (arXiv 2412.19437, section 2.1.2)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.settings.model import MoESettings

WEIGHT_EPS = 1e-20
"""Against a division by zero where all chosen scores are zero."""


class Routing(NamedTuple):
    """A router's decision about N tokens, with their leading dimensions ([N] or [B, S])."""

    scores: Tensor
    """[..., num_experts] fp32: affinities, without the bias."""
    experts: Tensor
    """[..., top_k] int64: the chosen experts."""
    weights: Tensor
    """[..., top_k] fp32: what each chosen expert's output is multiplied with."""


class Router(nn.Module):
    """Scores experts in fp32, also under autocast: near-ties decide where a token goes.

    The bias that evens the load enters the choice only, never the weights. It is no parameter: see `balance`.
    """

    e_score_correction_bias: Tensor
    expert_counts: Tensor

    def __init__(self, hidden_size: int, moe: MoESettings) -> None:
        super().__init__()
        self.moe = moe
        self.weight = nn.Parameter(torch.empty(moe.num_experts, hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(moe.num_experts))
        self.register_buffer("expert_counts", torch.zeros(moe.num_experts, dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Routing:
        """Route tokens [..., hidden_size]."""
        with torch.autocast(x.device.type, enabled=False):
            scores = affinities(F.linear(x.float(), self.weight.float()), self.moe.score)
            experts = choose_experts(scores.detach() + self.e_score_correction_bias, self.moe)
            return Routing(scores, experts, expert_weights(scores, experts, self.moe))


def affinities(logits: Tensor, score: str) -> Tensor:
    """Scores between 0 and 1 of the router's logits [..., num_experts]."""
    return logits.softmax(-1) if score == "softmax" else logits.sigmoid()


def choose_experts(scores: Tensor, moe: MoESettings) -> Tensor:
    """The top_k experts of each token within its top_k_groups groups, [..., top_k], in no order.

    A group counts by the sum of its two best experts.
    """
    if moe.top_k_groups < moe.num_groups:
        grouped = scores.unflatten(-1, (moe.num_groups, -1))
        group_scores = grouped.topk(2, dim=-1).values.sum(-1)
        kept = group_scores.topk(moe.top_k_groups, dim=-1, sorted=False).indices
        dropped = torch.ones_like(group_scores, dtype=torch.bool).scatter(-1, kept, False)
        scores = grouped.masked_fill(dropped.unsqueeze(-1), float("-inf")).flatten(-2)
    return scores.topk(moe.top_k, dim=-1, sorted=False).indices


def expert_weights(scores: Tensor, experts: Tensor, moe: MoESettings) -> Tensor:
    """The weights of the chosen experts: their scores, to the sum of one where wanted, times the scaling factor."""
    weights = scores.gather(-1, experts)
    if moe.normalize_weights:
        weights = weights / (weights.sum(-1, keepdim=True) + WEIGHT_EPS)
    return weights * moe.routed_scaling_factor
