"""Rotary positions (arXiv 2104.09864) on interleaved pairs, and their extension by YaRN (arXiv 2309.00071)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.settings.model import RopeSettings, YarnSettings


class Rotation(NamedTuple):
    """The angles of a sequence's positions, [S, dim / 2] each, fp32."""

    cos: Tensor
    sin: Tensor


def rotation(length: int, dim: int, rope: RopeSettings, device: torch.device) -> Rotation:
    """The rotation of positions 0 to length - 1.

    Computed anew for each forward pass: it costs nothing beside a layer, and a model built on the meta device has no
    table to lose.
    """
    positions = torch.arange(length, dtype=torch.float32, device=device)
    angles = torch.outer(positions, frequencies(dim, rope, device))
    scale = rotary_scale(rope.yarn)
    return Rotation(angles.cos() * scale, angles.sin() * scale)


def frequencies(dim: int, rope: RopeSettings, device: torch.device | None = None) -> Tensor:
    """Radians per position of each pair, [dim / 2], fast to slow.

    YaRN keeps the pairs that turn often within the original context, slows the rare ones by its factor, and blends
    linearly between (section 3.2 of its paper, "NTK-by-parts").
    """
    exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim
    plain = 1.0 / (rope.theta**exponents)
    if rope.yarn is None:
        return plain
    low, high = _blended_pairs(dim, rope.theta, rope.yarn)
    pairs = torch.arange(dim // 2, dtype=torch.float32, device=device)
    slowed = torch.clamp((pairs - low) / (high - low), 0, 1)
    return plain / rope.yarn.factor * slowed + plain * (1 - slowed)


def _blended_pairs(dim: int, theta: float, yarn: YarnSettings) -> tuple[float, float]:
    """The first and the last pair of the blend."""
    low = math.floor(_pair_of_turns(yarn.beta_fast, dim, theta, yarn.original_max_position))
    high = math.ceil(_pair_of_turns(yarn.beta_slow, dim, theta, yarn.original_max_position))
    low, high = max(low, 0), min(high, dim - 1)
    return low, high if high != low else high + 0.001  # as the reference does against a division by zero


def _pair_of_turns(turns: float, dim: int, theta: float, length: int) -> float:
    """Which pair turns so many times within `length` positions."""
    return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))


def rotary_scale(yarn: YarnSettings | None) -> float:
    """What YaRN multiplies cosine and sine with."""
    return (
        1.0 if yarn is None else _temperature(yarn.factor, yarn.mscale) / _temperature(yarn.factor, yarn.mscale_all_dim)
    )


def softmax_scale(head_dim: int, yarn: YarnSettings | None) -> float:
    """What attention multiplies its products with: 1 / sqrt(head_dim), and YaRN's temperature squared."""
    return head_dim**-0.5 * (1.0 if yarn is None else _temperature(yarn.factor, yarn.mscale_all_dim) ** 2)


def _temperature(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0


def rotate(x: Tensor, by: Rotation) -> tuple[Tensor, Tensor]:
    """Turn the pairs (x0, x1), (x2, x3), ... of `x` [B, S, H, dim]; the halves of the result are returned apart.

    The pairs' first components come first and their second ones after, [B, S, H, dim / 2] each: products of queries
    and keys do not depend on that order, and the caller concatenates anyway. The turn itself is in fp32.
    """
    first, second = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = by.cos[:, None, :], by.sin[:, None, :]  # [S, 1, dim / 2], the same for all heads
    return (first * cos - second * sin).to(x.dtype), (second * cos + first * sin).to(x.dtype)
