"""The output head and its cross-entropy together, in chunks, so that all logits never exist at once."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CPU_CHUNK_LOGITS = 1 << 20
"""Logits of one chunk on a CPU: 4 MiB of fp32 stay in its cache."""
GPU_CHUNK_LOGITS = 1 << 26
"""Logits of one chunk on a GPU: 256 MiB of fp32 keep it busy."""


class TokenScores(NamedTuple):
    """How well each target was predicted."""

    nats: Tensor
    """[N] fp32: -log p(target)."""
    correct: Tensor
    """[N] bool: whether the target had the highest probability."""


def mean_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """The mean of -log p(target) in nats over the valid tokens; 0 if there is none.

    hidden [N, d] and weight [V, d] give the logits; targets [N] int64, valid [N] bool. The gradients are computed
    along with the loss while a chunk's logits are at hand, so nothing is computed twice.
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    return _MeanCrossEntropy.apply(hidden, weight, targets, valid)


@torch.no_grad()
def token_scores(hidden: Tensor, weight: Tensor, targets: Tensor) -> TokenScores:
    """Score each target; shapes as in `mean_cross_entropy`."""
    nats, correct = [], []
    for rows in _chunks(hidden, weight):
        logits = F.linear(hidden[rows], weight).float()
        nats.append(F.cross_entropy(logits, targets[rows], reduction="none"))
        correct.append(logits.argmax(-1) == targets[rows])
    return TokenScores(torch.cat(nats), torch.cat(correct))


class _MeanCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
        share = valid.float() / valid.sum().clamp(min=1)  # [N]: each token's part of the mean
        loss = torch.zeros((), device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for rows in _chunks(hidden, weight):
            nats, grad_logits = _nats_and_gradient(hidden[rows] @ weight.T, targets[rows])
            loss += nats @ share[rows]
            grad_logits = grad_logits.mul_(share[rows].unsqueeze(-1)).to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(grad_logits, weight, out=grad_hidden[rows])
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits.T, hidden[rows])
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scaled_hidden = None if grad_hidden is None else (grad_hidden * grad).to(grad_hidden.dtype)
        scaled_weight = None if grad_weight is None else (grad_weight * grad).to(ctx.weight_dtype)
        return scaled_hidden, scaled_weight, None, None


def _chunks(hidden: Tensor, weight: Tensor) -> list[slice]:
    logits = CPU_CHUNK_LOGITS if hidden.device.type == "cpu" else GPU_CHUNK_LOGITS
    tokens = max(1, logits // len(weight))
    return [slice(start, start + tokens) for start in range(0, len(hidden), tokens)]


def _nats_and_gradient(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(target) [N], and the logits' gradient of its sum [N, V]: softmax minus one at the target."""
    logits = logits.float()
    places = targets.unsqueeze(-1)
    picked = logits.gather(-1, places).squeeze(-1)
    largest = logits.amax(-1)
    gradient = logits.softmax(-1)
    # The largest probability is at least 1 / V: its logarithm loses nothing, where the target's could be -inf.
    nats = largest - gradient.amax(-1).log() - picked
    gradient.scatter_add_(-1, places, torch.full_like(picked, -1.0).unsqueeze(-1))
    return nats, gradient


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right  # chunks are summed in fp32
