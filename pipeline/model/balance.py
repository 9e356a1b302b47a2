"""Even load for the experts: by a bias without a loss, by DeepSeek-V3's sequence-wise loss, by the Switch loss."""

import torch
from torch import Tensor, nn

from pipeline.model.moe import MoE


def expert_load(experts: Tensor, num_experts: int, mask: Tensor | None = None) -> Tensor:
    """How many tokens each expert got, [num_experts] int64: experts [..., k], mask [...] of the tokens that count."""
    counted = torch.ones_like(experts) if mask is None else mask.unsqueeze(-1).expand_as(experts).to(torch.int64)
    load = torch.zeros(num_experts, dtype=torch.int64, device=experts.device)
    return load.scatter_add_(0, experts.flatten(), counted.flatten())


def switch_loss(scores: Tensor, experts: Tensor, mask: Tensor) -> Tensor:
    """N * sum(f_i * P_i) over all tokens; 1 if load and scores are even (Switch, arXiv 2101.03961, section 2.2).

    f_i is expert i's share of the choices, P_i its mean share of a token's scores (sigmoid scores are divided by
    their sum first). scores [B, S, N], experts [B, S, k], mask [B, S] of the tokens that count.
    """
    load = expert_load(experts, scores.shape[-1], mask).float()
    shares = _shares(scores) * mask.unsqueeze(-1)
    mean_shares = shares.flatten(0, 1).sum(0) / mask.sum().clamp(min=1)
    return scores.shape[-1] * (load / load.sum().clamp(min=1) * mean_shares).sum()


def sequence_loss(scores: Tensor, top_k: int, mask: Tensor) -> Tensor:
    """sum(f_i * P_i) within each sequence, averaged over sequences (arXiv 2412.19437, equations 17-20).

    f_i counts the tokens whose top_k scores, without bias and groups, hold expert i, times N / (top_k * T); P_i is the
    mean share of a token's scores. 1 if even. scores [B, S, N], mask [B, S] of the tokens that count.
    """
    counted = mask.unsqueeze(-1).to(scores.dtype)  # [B, S, 1]
    tokens = mask.sum(1, keepdim=True).clamp(min=1)  # [B, 1]
    best = scores.detach().topk(top_k, dim=-1, sorted=False).indices
    hits = torch.zeros_like(scores).scatter_(-1, best, 1.0)
    fractions = (hits * counted).sum(1) * scores.shape[-1] / (top_k * tokens)  # [B, N]
    mean_shares = (_shares(scores) * counted).sum(1) / tokens  # [B, N]
    return (fractions * mean_shares).sum(-1).mean()


def _shares(scores: Tensor) -> Tensor:
    return scores / (scores.sum(-1, keepdim=True) + 1e-20)


def moved_bias(bias: Tensor, counts: Tensor, speed: float) -> Tensor:
    """The bias [N] after one step: `speed` down where an expert got more than the mean, up where it got less."""
    return bias + speed * torch.sign(counts.float().mean() - counts.float())


def moe_layers(model: nn.Module) -> list[tuple[str, MoE]]:
    """The expert layers with their global names, in the model's order (`layers.1.mlp`, `mtp.0.block.mlp`)."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, MoE)]


@torch.no_grad()
def update_biases(model: nn.Module, speed: float) -> None:
    """Move every layer's bias by its counts, which must be those of all data-parallel ranks; then `reset_counts`."""
    for _, moe in moe_layers(model):
        moe.e_score_correction_bias.copy_(moved_bias(moe.e_score_correction_bias, moe.expert_counts, speed))


def reset_counts(model: nn.Module) -> None:
    """Begin to count anew."""
    for _, moe in moe_layers(model):
        moe.expert_counts.zero_()
