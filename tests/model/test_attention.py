"""Attention against its formula, and the demand for a fused kernel."""

import pytest
import torch
from torch.nn.attention import SDPBackend

from pipeline.model.attention import Attention
from pipeline.model.rope import rotation


@pytest.fixture
def make_attention(make_settings):
    def make(**changes):
        settings = make_settings({"mla": changes})
        torch.manual_seed(0)
        return Attention(settings.hidden_size, settings.mla, settings.rope), settings

    return make


def rotated_by_hand(x, position, theta):
    """Turn the pairs (x0, x1), (x2, x3), ... as complex numbers."""
    angles = position * theta ** (-torch.arange(0, len(x), 2) / len(x))
    turned = torch.view_as_complex(x.reshape(-1, 2).contiguous()) * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).flatten()


@pytest.mark.parametrize("v_head_dim", [8, 12, 24, 40])
def test_attention_equals_its_formula_for_values_of_any_width(make_attention, v_head_dim):
    attention, settings = make_attention(v_head_dim=v_head_dim)
    mla, length = settings.mla, 7
    x = torch.randn(1, length, settings.hidden_size)
    by = rotation(length, mla.qk_rope_head_dim, settings.rope, x.device)
    found = attention(x, by)[0]

    heads = []
    queries = attention.q_b_proj(attention.q_a_layernorm(attention.q_a_proj(x[0]))).view(length, mla.num_heads, -1)
    latent, key_part = attention.kv_a_proj_with_mqa(x[0]).split([mla.kv_lora_rank, mla.qk_rope_head_dim], -1)
    both = attention.kv_b_proj(attention.kv_a_layernorm(latent)).view(length, mla.num_heads, -1)
    nope = mla.qk_nope_head_dim
    for head in range(mla.num_heads):
        rows = []
        for i in range(length):
            query = torch.cat([queries[i, head, :nope], rotated_by_hand(queries[i, head, nope:], i, 10000.0)])
            products = torch.stack(
                [
                    query @ torch.cat([both[j, head, :nope], rotated_by_hand(key_part[j], j, 10000.0)])
                    for j in range(i + 1)
                ]
            )
            shares = (products / (nope + mla.qk_rope_head_dim) ** 0.5).softmax(-1)
            rows.append(shares @ both[: i + 1, head, nope:])
        heads.append(torch.stack(rows))
    expected = attention.o_proj(torch.cat(heads, -1))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_demanded_fused_kernel_gives_the_same_result(make_attention):
    plain, settings = make_attention()
    fused, _ = make_attention(use_flash_mla=True)
    x = torch.randn(2, 9, settings.hidden_size)
    by = rotation(9, settings.mla.qk_rope_head_dim, settings.rope, x.device)
    assert torch.equal(plain(x, by), fused(x, by))


def test_a_demanded_fused_kernel_that_does_not_exist_is_an_error_that_names_the_key(make_attention, monkeypatch):
    attention, settings = make_attention(use_flash_mla=True)
    monkeypatch.setattr("pipeline.model.attention.FUSED_KERNELS", [SDPBackend.CUDNN_ATTENTION])  # no CPU has it
    x = torch.randn(2, 9, settings.hidden_size)
    by = rotation(9, settings.mla.qk_rope_head_dim, settings.rope, x.device)
    with pytest.raises(RuntimeError, match=r"use_flash_mla is true, but cpu has no fused attention kernel"):
        attention(x, by)
