"""The chunked loss against plain cross-entropy."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.model.loss import CPU_CHUNK_LOGITS, mean_cross_entropy, token_scores

TOKENS, WIDTH, VOCABULARY = 12_000, 8, 200  # more than two chunks


@pytest.fixture
def parts():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, generator=generator, requires_grad=True)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (TOKENS,), generator=generator)
    valid = torch.rand(TOKENS, generator=generator) > 0.3
    assert TOKENS * VOCABULARY > 2 * CPU_CHUNK_LOGITS
    return hidden, weight, targets, valid


def test_the_chunked_loss_and_its_gradients_equal_plain_cross_entropy(parts):
    hidden, weight, targets, valid = parts
    chunked = mean_cross_entropy(hidden, weight, targets, valid)
    found = torch.autograd.grad(3 * chunked, (hidden, weight))
    plain = F.cross_entropy((hidden @ weight.T)[valid], targets[valid])
    expected = torch.autograd.grad(3 * plain, (hidden, weight))
    torch.testing.assert_close(chunked, plain)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


def test_token_scores_equal_plain_cross_entropy(parts):
    hidden, weight, targets, _ = parts
    scores = token_scores(hidden, weight, targets)
    logits = hidden @ weight.T
    torch.testing.assert_close(scores.nats, F.cross_entropy(logits, targets, reduction="none"))
    assert torch.equal(scores.correct, logits.argmax(-1) == targets)


def test_an_improbable_target_costs_its_whole_distance_and_not_infinity():
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[1000.0], [-1000.0]])
    loss = mean_cross_entropy(hidden, weight, torch.tensor([1]), torch.tensor([True]))
    assert loss.item() == pytest.approx(2000.0)


def test_rows_of_padding_alone_cost_nothing_and_have_no_gradient(parts):
    hidden, weight, targets, valid = parts
    loss = mean_cross_entropy(hidden, weight, targets, torch.zeros_like(valid))
    loss.backward()
    assert loss.item() == 0
    assert not hidden.grad.any()
    assert not weight.grad.any()


def test_a_frozen_head_needs_no_gradient(parts):
    hidden, weight, targets, valid = parts
    mean_cross_entropy(hidden, weight.detach(), targets, valid).backward()
    assert hidden.grad.any()
