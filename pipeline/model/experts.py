"""The routed experts: tokens are sorted by expert, so that each expert multiplies one contiguous slice."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Slots(NamedTuple):
    """Where each of the N * top_k (token, expert) pairs stands once the pairs are sorted by expert."""

    order: Tensor
    """[N * k] int64: the pair at each sorted place; pair p belongs to token p // k."""
    inverse: Tensor
    """[N * k] int64: the sorted place of each pair."""
    ends: Tensor
    """[num_experts] int32: where each expert's slice ends."""


def sort_by_expert(experts: Tensor, num_experts: int) -> Slots:
    """Sort the chosen experts [N, k], stably; no synchronisation with the host."""
    by_expert, order = experts.flatten().sort(stable=True)
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    numbers = torch.arange(num_experts, device=order.device, dtype=by_expert.dtype)
    return Slots(order, inverse, torch.searchsorted(by_expert, numbers, right=True, out_int32=True))


class Experts(nn.Module):
    """All routed experts of a layer, each a gated MLP, with their weights stacked along the first dimension."""

    def __init__(self, num_experts: int, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(num_experts, 2 * intermediate_size, hidden_size))
        self.down_proj = nn.Parameter(torch.empty(num_experts, hidden_size, intermediate_size))

    def forward(self, x: Tensor, experts: Tensor, weights: Tensor) -> Tensor:
        """Mix the outputs of each token's experts: x [N, d], experts and weights [N, k] -> [N, d]."""
        dtype = _compute_dtype(x)
        slots = sort_by_expert(experts, len(self.gate_up_proj))
        sorted_x = _Dispatch.apply(x.to(dtype), slots.order, slots.inverse)
        gate, up = grouped_linear(sorted_x, self.gate_up_proj.to(dtype), slots.ends).chunk(2, -1)
        out = grouped_linear(F.silu(gate) * up, self.down_proj.to(dtype), slots.ends)
        return _Combine.apply(out, weights, slots.order, slots.inverse).to(x.dtype)


def _compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype of products here: autocast's if it is on, which knows nothing of grouped products."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def grouped_linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Multiply each expert's slice of x [M, in] with its weight [num_experts, out, in] -> [M, out].

    One grouped product on a GPU. On a CPU a loop over slices is faster than torch's grouped product (1.11 against
    1.03 of the reference's speed for the whole demo step).
    """
    if x.device.type == "cpu":
        return _SlicedLinear.apply(x, weight, ends)
    return F.grouped_mm(x, weight.transpose(-2, -1), offs=ends)


class _SlicedLinear(torch.autograd.Function):
    """`grouped_linear` with one product per expert, written into one result.

    Plain indexing `weight[e]` would make autograd fill a gradient of all experts' size for every expert.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.slices = _slices(ends)
        out = x.new_empty(x.shape[0], weight.shape[1])
        for expert, rows in ctx.slices:
            torch.mm(x[rows], weight[expert].T, out=out[rows])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        grad_x, grad_weight = torch.empty_like(x), torch.empty_like(weight)
        for expert, rows in ctx.slices:
            torch.mm(grad[rows], weight[expert], out=grad_x[rows])
            torch.mm(grad[rows].T, x[rows], out=grad_weight[expert])  # zeros where the slice is empty
        return grad_x, grad_weight, None


def _slices(ends: Tensor) -> list[tuple[int, slice]]:
    stops = ends.tolist()
    return [(expert, slice(start, stop)) for expert, (start, stop) in enumerate(zip([0, *stops], stops, strict=False))]


class _Dispatch(torch.autograd.Function):
    """Copy each token to the places of its experts: x [N, d] -> [N * k, d].

    Its own backward, because indexing's would add with atomics: slow on a GPU and in no fixed order.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.tokens = len(x)
        return x[order // (len(order) // len(x))]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return grad[inverse].view(ctx.tokens, -1, grad.shape[-1]).sum(1), None, None


class _Combine(torch.autograd.Function):
    """Sum the weighted outputs of each token's experts: out [N * k, d], weights [N, k] -> [N, d], like the weights."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, weights: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(out, weights, order, inverse)
        return (_by_token(out, weights, inverse) * weights.unsqueeze(-1)).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        out, weights, order, inverse = ctx.saved_tensors
        grad_out = grad[order // weights.shape[1]] * weights.flatten()[order].unsqueeze(-1)
        grad_weights = (_by_token(out, weights, inverse) * grad.unsqueeze(1)).sum(-1)
        return grad_out.to(out.dtype), grad_weights, None, None


def _by_token(out: Tensor, weights: Tensor, inverse: Tensor) -> Tensor:
    return out[inverse].view(*weights.shape, -1).to(weights.dtype)
