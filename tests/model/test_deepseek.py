"""The whole model: losses, scores, counting, checkpointing, precision."""

import copy

import pytest
import torch
import torch.nn.functional as F

from pipeline.model.balance import moe_layers, sequence_loss, switch_loss
from pipeline.model.rope import rotation

PAD = 2


def plain_predictions(model, rows):
    """Logits for the tokens 1, 2, ... ahead, written down straight from the paper's section 2.2."""
    settings = model.settings
    length = rows.shape[1] - 1 - settings.mtp_depth
    by = rotation(length, settings.mla.qk_rope_head_dim, settings.rope, rows.device)
    hidden = model.embed_tokens(rows[:, :length])
    for block in model.layers.values():
        hidden, _ = block(hidden, by)
    hidden = model.norm(hidden)
    logits = [model.lm_head(hidden)]
    for depth, module in enumerate(model.mtp.values(), start=1):
        embedded = model.embed_tokens(rows[:, depth : depth + length])
        joined = torch.cat([module.enorm(embedded), module.hnorm(hidden)], -1) @ module.eh_proj.weight.T
        hidden = module.norm(module.block(joined, by)[0])
        logits.append(model.lm_head(hidden))
    targets = [rows[:, ahead : ahead + length] for ahead in range(1, settings.mtp_depth + 2)]
    return list(zip(logits, targets, strict=True))


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_gradients_are_close(found, expected, relative=1e-5):
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= relative * gradient.norm() + 1e-12, name


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_losses_equal_plain_cross_entropy_at_every_depth_with_gradients(make_model, depth):
    model = make_model({"mtp_depth": depth, "moe": {"sequence_loss_weight": 0.0}})
    rows = torch.randint(6, 96, (2, 17 + depth), generator=torch.Generator().manual_seed(depth))
    rows[1, 12:] = PAD

    losses = model.losses(rows, PAD)
    plain = [
        F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)
        for logits, targets in plain_predictions(model, rows)
    ]
    torch.testing.assert_close(torch.stack([losses.next_token, *losses.mtp]), torch.stack(plain))

    total = losses.total(mtp_weight=0.3)
    expected = plain[0] + (0.3 / depth * sum(plain[1:]) if depth else 0)
    torch.testing.assert_close(total, expected)
    total.backward()
    found = gradients(model)
    model.zero_grad()
    expected.backward()
    assert_gradients_are_close(found, gradients(model))


def test_balance_losses_are_weighted_and_summed_over_all_expert_layers(make_model, rows):
    weights = {"sequence_loss_weight": 0.02, "router_aux_loss_weight": 0.03}
    model = make_model({"moe": weights}).eval()
    seen = []
    hooks = [moe.register_forward_hook(lambda *call: seen.append(call[-1][1])) for _, moe in moe_layers(model)]
    losses = model.losses(rows, PAD)
    for hook in hooks:
        hook.remove()

    assert len(seen) == 3 + 2  # layers 1-3 and two MTP modules
    valid = rows != PAD
    masks = [valid[:, :16]] * 3 + [valid[:, 1:17], valid[:, 2:18]]
    sequence = sum(sequence_loss(r.scores, 3, mask) for r, mask in zip(seen, masks, strict=True))
    switch = sum(switch_loss(r.scores, r.experts, mask) for r, mask in zip(seen, masks, strict=True))
    torch.testing.assert_close(losses.sequence_balance, 0.02 * sequence)
    torch.testing.assert_close(losses.switch_balance, 0.03 * switch)
    total = losses.total(mtp_weight=0.0)
    torch.testing.assert_close(total, losses.next_token + losses.sequence_balance + losses.switch_balance)


def test_balance_losses_reach_the_routers_alone_of_all_gates(make_model, rows):
    model = make_model({"moe": {"sequence_loss_weight": 0.1, "router_aux_loss_weight": 0.1}})
    losses = model.losses(rows, PAD)
    (losses.sequence_balance + losses.switch_balance).backward()
    for _, moe in moe_layers(model):
        assert moe.gate.weight.grad.norm() > 0
    assert model.lm_head.weight.grad is None


def test_scores_agree_with_the_losses_and_leave_padding_out(make_model, rows):
    model = make_model().eval()
    scores, losses = model.scores(rows, PAD), model.losses(rows, PAD)

    assert scores.nats.shape == scores.correct.shape == scores.mask.shape == (2, 16)
    assert torch.equal(scores.mask, rows[:, 1:17] != PAD)
    assert not scores.nats[~scores.mask].any()
    assert not scores.correct[~scores.mask].any()
    torch.testing.assert_close(scores.nats.sum() / scores.mask.sum(), losses.next_token)
    plain = plain_predictions(model, rows)
    for correct, mask, (logits, targets) in zip(
        (scores.correct, *scores.mtp_correct), (scores.mask, *scores.mtp_mask), plain, strict=True
    ):
        assert torch.equal(mask, targets != PAD)
        assert torch.equal(correct, (logits.argmax(-1) == targets) & mask)
    assert not scores.nats.requires_grad


def test_scores_count_the_load_of_every_expert_layer(make_model, rows):
    scores = make_model().eval().scores(rows, PAD)
    valid = rows != PAD
    tokens = [valid[:, :16]] * 3 + [valid[:, 1:17], valid[:, 2:18]]
    assert scores.expert_counts.sum(1).tolist() == [3 * int(mask.sum()) for mask in tokens]


def test_only_training_counts_and_every_token_goes_to_top_k_experts(make_model, rows):
    model = make_model()
    model.eval().losses(rows, PAD)
    assert all(not moe.expert_counts.any() for _, moe in moe_layers(model))
    model.train().losses(rows, PAD)
    model.train()(rows[:, :16])
    main = [moe for name, moe in moe_layers(model) if name.startswith("layers.")]
    assert [int(moe.expert_counts.sum()) for moe in main] == [3 * (16 + 13 + 32)] * 3


def test_checkpointing_changes_neither_gradients_nor_counts(make_model, rows):
    plain = make_model({"dropout": 0.2}).train()
    saving = copy.deepcopy(plain)
    saving.gradient_checkpointing = True
    for model in (plain, saving):
        torch.manual_seed(11)
        model.losses(rows, PAD).total(0.3).backward()
    assert_gradients_are_close(gradients(saving), gradients(plain), relative=0)
    for (_, ours), (_, theirs) in zip(moe_layers(saving), moe_layers(plain), strict=True):
        assert ours.expert_counts.any()
        assert torch.equal(ours.expert_counts, theirs.expert_counts)


def test_dropout_acts_in_training_only(make_model, rows):
    model = make_model({"dropout": 0.5})
    undisturbed = make_model({"dropout": 0.0})
    tokens = rows[:, :16]
    assert not torch.allclose(model.train()(tokens), model(tokens))
    assert torch.equal(model.eval()(tokens), undisturbed(tokens))


def test_a_later_token_changes_no_earlier_logits(make_model):
    model = make_model().eval()
    tokens = torch.randint(6, 96, (1, 20))
    changed = tokens.clone()
    changed[0, 12] = (tokens[0, 12] + 1) % 96
    assert torch.allclose(model(tokens)[:, :12], model(changed)[:, :12], atol=1e-6)
    assert not torch.allclose(model(tokens)[:, 12:], model(changed)[:, 12:], atol=1e-3)


def test_bf16_autocast_keeps_the_router_and_the_gradients_in_fp32(make_model, rows):
    model = make_model()
    routings = []
    for _, moe in moe_layers(model):
        moe.gate.register_forward_hook(lambda *call: routings.append(call[-1]))
    exact = model.losses(rows, PAD).total(0.3).item()
    routings.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.losses(rows, PAD).total(0.3)
    loss.backward()
    assert loss.item() == pytest.approx(exact, rel=0.02)
    assert all(routing.scores.dtype == routing.weights.dtype == torch.float32 for routing in routings)
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


def test_softmax_scores_train(make_model, rows):
    model = make_model({"moe": {"score": "softmax", "routed_scaling_factor": 1.0}})
    before = model.losses(rows, PAD).total(0.3)
    before.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.05 * parameter.grad
    assert model.losses(rows, PAD).total(0.3) < before


def test_a_sequence_beyond_the_positions_is_refused_with_both_numbers(make_model):
    with pytest.raises(ValueError, match=r"65 tokens exceeds model.max_position_embeddings 64"):
        make_model()(torch.zeros(1, 65, dtype=torch.int64))


def test_rows_too_short_for_the_mtp_depth_are_refused(make_model):
    with pytest.raises(ValueError, match="rows of 3 tokens leave nothing to predict at MTP depth 2"):
        make_model().losses(torch.zeros(1, 3, dtype=torch.int64), PAD)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU: bf16 grouped products, fused attention")
def test_a_bf16_step_on_a_gpu_agrees_with_fp32_on_the_cpu(make_model):
    sizes = {"hidden_size": 64, "mla": {"use_flash_mla": True}, "moe": {"intermediate_size": 32}}
    model = make_model(sizes)
    rows = torch.randint(6, 96, (2, 19), generator=torch.Generator().manual_seed(7))
    expected = model.losses(rows, PAD).total(0.3).item()
    model.cuda()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = model.losses(rows.cuda(), PAD).total(0.3)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=0.02)
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())
