"""Load, the two balance losses against their formulas in numpy, and the bias."""

import numpy as np
import pytest
import torch

from pipeline.model.balance import (
    expert_load,
    moe_layers,
    moved_bias,
    reset_counts,
    sequence_loss,
    switch_loss,
    update_biases,
)

ROWS, LENGTH, EXPERTS, TOP_K = 3, 10, 6, 2


@pytest.fixture
def routed():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(ROWS, LENGTH, EXPERTS, generator=generator)
    experts = (scores + 0.5 * torch.rand(EXPERTS, generator=generator)).topk(TOP_K, -1).indices
    mask = torch.ones(ROWS, LENGTH, dtype=torch.bool)
    mask[1, 6:] = False
    return scores, experts, mask


def test_the_switch_loss_equals_its_formula(routed):
    scores, experts, mask = (part.numpy() for part in routed)
    s, e = scores[mask], experts[mask]  # the tokens that count
    f = np.array([(e == i).sum() for i in range(EXPERTS)]) / e.size
    p = (s / s.sum(-1, keepdims=True)).mean(0)
    assert switch_loss(*routed).item() == pytest.approx(EXPERTS * (f * p).sum(), rel=1e-5)


def test_the_sequence_loss_equals_equations_17_to_20(routed):
    scores, _, mask = routed
    total = 0.0
    for row, counts in zip(scores.numpy(), mask.numpy(), strict=True):
        s = row[counts]
        tokens = len(s)
        top = np.argsort(-s, axis=-1)[:, :TOP_K]
        f = np.array([(top == i).any(-1).sum() for i in range(EXPERTS)]) * EXPERTS / (TOP_K * tokens)
        p = (s / s.sum(-1, keepdims=True)).mean(0)
        total += (f * p).sum()
    assert sequence_loss(scores, TOP_K, mask).item() == pytest.approx(total / ROWS, rel=1e-5)


def test_both_losses_are_one_when_even_and_larger_when_one_expert_takes_all():
    mask = torch.ones(1, EXPERTS, dtype=torch.bool)
    each_its_own = torch.eye(EXPERTS).unsqueeze(0) + 1e-6
    same = torch.eye(EXPERTS)[torch.zeros(EXPERTS, dtype=torch.int64)].unsqueeze(0) + 1e-6
    for scores, value in ((each_its_own, 1.0), (same, float(EXPERTS))):
        experts = scores.topk(1, -1).indices
        assert switch_loss(scores, experts, mask).item() == pytest.approx(value, rel=1e-3)
        assert sequence_loss(scores, 1, mask).item() == pytest.approx(value, rel=1e-3)


def test_nothing_but_padding_has_no_loss(routed):
    scores, experts, mask = routed
    nothing = torch.zeros_like(mask)
    assert switch_loss(scores, experts, nothing).item() == 0
    assert sequence_loss(scores, TOP_K, nothing).item() == 0


def test_load_counts_the_tokens_that_count(routed):
    _, experts, mask = routed
    assert torch.equal(expert_load(experts, EXPERTS), experts.flatten().bincount(minlength=EXPERTS))
    assert torch.equal(expert_load(experts, EXPERTS, mask), experts[mask].flatten().bincount(minlength=EXPERTS))


def test_the_bias_moves_against_the_load_by_the_speed():
    bias = torch.tensor([0.5, 0.0, -0.5, 0.0])
    moved = moved_bias(bias, torch.tensor([30, 20, 10, 20]), speed=0.01)
    torch.testing.assert_close(moved, torch.tensor([0.49, 0.0, -0.49, 0.0]))


def test_updated_biases_even_out_a_lopsided_load(make_model):
    model = make_model({"moe": {"num_groups": 1, "top_k_groups": 1}}).train()
    tokens = torch.randint(6, 96, (8, 60), generator=torch.Generator().manual_seed(0))
    for _, moe in moe_layers(model):
        moe.e_score_correction_bias.zero_()
        moe.e_score_correction_bias[0] = 0.5

    def violation():
        reset_counts(model)
        with torch.no_grad():
            model(tokens)
        loads = [moe.expert_counts.float() for name, moe in moe_layers(model) if name.startswith("layers.")]
        return max((load.max() / load.mean()).item() for load in loads)

    before = violation()
    for _ in range(80):
        update_biases(model, speed=0.01)
        after = violation()
    assert before > 2.5
    assert after < 1.3


def test_layers_have_global_names_and_counts_can_be_reset(make_model, rows):
    model = make_model().train()
    model.losses(rows, pad_id=2)
    names = [name for name, _ in moe_layers(model)]
    assert names == ["layers.1.mlp", "layers.2.mlp", "layers.3.mlp", "mtp.0.block.mlp", "mtp.1.block.mlp"]
    assert all(moe.expert_counts.any() for _, moe in moe_layers(model))
    reset_counts(model)
    assert not any(moe.expert_counts.any() for _, moe in moe_layers(model))
