"""The router against its definition, token by token."""

import pytest
import torch

from pipeline.model.router import Router, affinities, choose_experts, expert_weights
from pipeline.settings.model import MoESettings


def moe(**changes):
    data = {"num_experts": 12, "top_k": 3, "num_groups": 4, "top_k_groups": 2, "intermediate_size": 8}
    return MoESettings.parse(data | changes)


def chosen_by_hand(scores, settings):
    size = settings.num_experts // settings.num_groups
    groups = [range(start, start + size) for start in range(0, settings.num_experts, size)]
    worth = [sum(sorted((scores[e] for e in group), reverse=True)[:2]) for group in groups]
    kept = sorted(range(len(groups)), key=lambda g: -worth[g])[: settings.top_k_groups]
    reachable = [e for g in kept for e in groups[g]]
    return set(sorted(reachable, key=lambda e: -scores[e])[: settings.top_k])


@pytest.mark.parametrize("groups", [{}, {"num_groups": 1, "top_k_groups": 1}, {"top_k_groups": 4}, {"top_k_groups": 1}])
def test_the_choice_is_limited_to_the_groups_with_the_two_best_experts(groups):
    settings = moe(**groups)
    scores = torch.rand(50, 12, generator=torch.Generator().manual_seed(0))
    chosen = choose_experts(scores, settings)
    assert [set(row) for row in chosen.tolist()] == [chosen_by_hand(row, settings) for row in scores.tolist()]


def test_the_bias_decides_the_choice_and_not_the_weights():
    router = Router(16, moe(num_groups=1, top_k_groups=1))
    torch.nn.init.normal_(router.weight, generator=torch.Generator().manual_seed(1))
    x = torch.randn(30, 16, generator=torch.Generator().manual_seed(2))
    router.e_score_correction_bias[5] = 10.0
    scores, experts, weights = router(x)
    assert (experts == 5).any(-1).all()
    plain = (x @ router.weight.T).sigmoid()
    torch.testing.assert_close(scores, plain)
    picked = plain.gather(-1, experts)
    torch.testing.assert_close(weights, 2.5 * picked / picked.sum(-1, keepdim=True))


def test_weights_are_left_as_scores_where_not_normalised():
    settings = moe(normalize_weights=False, routed_scaling_factor=1.5)
    scores = torch.rand(4, 12)
    experts = choose_experts(scores, settings)
    torch.testing.assert_close(expert_weights(scores, experts, settings), 1.5 * scores.gather(-1, experts))


def test_softmax_scores_sum_to_one():
    logits = torch.randn(5, 12)
    torch.testing.assert_close(affinities(logits, "softmax"), logits.exp() / logits.exp().sum(-1, keepdim=True))


def test_the_router_is_in_fp32_under_autocast_and_its_bias_is_no_parameter():
    router = Router(16, moe())
    torch.nn.init.normal_(router.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        routing = router(torch.randn(3, 16).bfloat16())
    assert routing.scores.dtype == routing.weights.dtype == torch.float32
    assert [name for name, _ in router.named_parameters()] == ["weight"]
    assert set(router.state_dict()) == {"weight", "e_score_correction_bias"}
