"""Routed experts: sorting, products by slice and by group, gradients."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.model.experts import Experts, grouped_linear, sort_by_expert


def choice(tokens, num_experts, top_k, seed=0):
    """Experts and weights of tokens, with one expert that nobody chose."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(tokens, num_experts, generator=generator)
    scores[:, 2] = -1
    weights, experts = scores.topk(top_k, dim=-1)
    return experts, weights.requires_grad_()


@pytest.fixture
def layer():
    experts = Experts(5, 16, 24)
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(1))
    return experts


def plain(layer, x, experts, weights):
    """One expert at a time, one token at a time."""
    rows = []
    for token, row in enumerate(x):
        mixed = torch.zeros_like(row)
        for place, expert in enumerate(experts[token].tolist()):
            gate, up = (layer.gate_up_proj[expert] @ row).chunk(2)
            mixed = mixed + weights[token, place] * (layer.down_proj[expert] @ (F.silu(gate) * up))
        rows.append(mixed)
    return torch.stack(rows)


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_experts_equal_a_loop_over_tokens_with_gradients(layer, top_k):
    x = torch.randn(20, 16, generator=torch.Generator().manual_seed(2), requires_grad=True)
    experts, weights = choice(20, 5, top_k)
    wanted = [x, weights, *layer.parameters()]
    found = layer(x, experts, weights)
    expected = plain(layer, x, experts, weights)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    toward = torch.randn(20, 16, generator=torch.Generator().manual_seed(3))
    for ours, theirs in zip(
        torch.autograd.grad(found, wanted, toward), torch.autograd.grad(expected, wanted, toward), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_grouped_product_of_gpus_equals_the_sliced_one_of_cpus():
    experts, _ = choice(40, 5, 2)
    slots = sort_by_expert(experts, 5)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(80, 16, generator=generator, requires_grad=True)
    weight = torch.randn(5, 24, 16, generator=generator, requires_grad=True)
    toward = torch.randn(80, 24, generator=generator)
    sliced = grouped_linear(x, weight, slots.ends)
    grouped = F.grouped_mm(x, weight.transpose(-2, -1), offs=slots.ends)
    torch.testing.assert_close(sliced, grouped)
    ours = torch.autograd.grad(sliced, (x, weight), toward)
    theirs = torch.autograd.grad(grouped, (x, weight), toward)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right)
    assert not ours[1][2].any()  # the expert that nobody chose


def test_sorting_puts_each_pair_in_its_experts_slice():
    experts, _ = choice(30, 6, 3)
    order, inverse, ends = sort_by_expert(experts, 6)
    flat = experts.flatten()
    assert torch.equal(flat[order], flat.sort().values)
    assert torch.equal(order[inverse], torch.arange(90))
    assert ends.tolist() == flat.bincount(minlength=6).cumsum(0).tolist()
    assert ends.dtype == torch.int32
