"""Rotary positions and YaRN."""

import math

import pytest
import torch

from pipeline.model.rope import frequencies, rotary_scale, rotate, rotation, softmax_scale
from pipeline.settings.model import RopeSettings

YARN = RopeSettings.parse({"yarn": {"factor": 8.0, "original_max_position": 4096}})


def test_products_depend_on_the_distance_alone():
    query, key = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 30, 1, 8).unbind(0)
    by = rotation(30, 8, RopeSettings(), query.device)
    turned_query, turned_key = (torch.cat(rotate(part, by), -1)[0, :, 0] for part in (query, key))
    products = turned_query @ turned_key.T
    for distance in (0, 3, 11):
        along = products.diagonal(-distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-5, rtol=1e-5)


def test_yarn_keeps_fast_pairs_and_slows_slow_ones_by_its_factor():
    plain, slowed = frequencies(64, RopeSettings()), frequencies(64, YARN)
    turns = plain * 4096 / (2 * math.pi)
    ratio = plain / slowed
    assert torch.allclose(ratio[turns > 40], torch.tensor(1.0))
    assert torch.allclose(ratio[turns < 0.5], torch.tensor(8.0))
    assert ((ratio[1:] - ratio[:-1]) >= -1e-5).all()


def test_yarn_raises_the_softmax_scale_and_leaves_the_rotation_unscaled_at_equal_weights():
    assert rotary_scale(YARN.yarn) == 1
    assert softmax_scale(192, YARN.yarn) == pytest.approx(192**-0.5 * (0.1 * math.log(8) + 1) ** 2)
    assert softmax_scale(192, None) == 192**-0.5
    assert rotary_scale(None) == 1


def test_a_rotation_keeps_lengths_and_dtype():
    x = torch.randn(2, 5, 3, 8, dtype=torch.bfloat16)
    by = rotation(5, 8, RopeSettings(), x.device)
    assert by.cos.dtype == by.sin.dtype == torch.float32
    turned = torch.cat(rotate(x, by), -1)
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.float().norm(dim=-1), x.float().norm(dim=-1), rtol=1e-2, atol=1e-2)
