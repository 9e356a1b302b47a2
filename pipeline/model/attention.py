"""Multi-head latent attention (arXiv 2412.19437, section 2.1.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipeline.model.norm import RMSNorm
from pipeline.model.rope import Rotation, rotate, softmax_scale
from pipeline.settings.model import MLASettings, RopeSettings

LATENT_EPS = 1e-6
"""The eps of the norms on the compressed query and key: fixed in DeepSeek-V3, whatever `rms_norm_eps` is."""
NO_KERNEL = ("No available kernel", "No viable backend")
"""How torch says that none of the allowed kernels can do it."""
FUSED_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]


class Attention(nn.Module):
    """Causal attention whose queries, keys and values pass through narrow latents."""

    def __init__(self, hidden_size: int, mla: MLASettings, rope: RopeSettings) -> None:
        super().__init__()
        self.mla = mla
        self.scale = softmax_scale(mla.qk_head_dim, rope.yarn)
        heads = mla.num_heads
        self.q_a_proj = nn.Linear(hidden_size, mla.q_lora_rank, bias=False)
        self.q_a_layernorm = RMSNorm(mla.q_lora_rank, LATENT_EPS)
        self.q_b_proj = nn.Linear(mla.q_lora_rank, heads * mla.qk_head_dim, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(hidden_size, mla.kv_lora_rank + mla.qk_rope_head_dim, bias=False)
        self.kv_a_layernorm = RMSNorm(mla.kv_lora_rank, LATENT_EPS)
        self.kv_b_proj = nn.Linear(mla.kv_lora_rank, heads * (mla.qk_nope_head_dim + mla.v_head_dim), bias=False)
        self.o_proj = nn.Linear(heads * mla.v_head_dim, hidden_size, bias=False)

    def forward(self, x: Tensor, by: Rotation) -> Tensor:
        """[B, S, hidden_size] -> the same."""
        query = self._query(x, by)
        key, value = self._key_and_value(x, by)
        return self.o_proj(self._attend(query, key, value).flatten(2))

    def _query(self, x: Tensor, by: Rotation) -> Tensor:
        mla = self.mla
        query = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        query = query.unflatten(-1, (-1, mla.qk_head_dim))  # [B, S, H, nope + rope]
        plain, turning = query.split((mla.qk_nope_head_dim, mla.qk_rope_head_dim), -1)
        return torch.cat((plain, *rotate(turning, by)), -1)

    def _key_and_value(self, x: Tensor, by: Rotation) -> tuple[Tensor, Tensor]:
        mla = self.mla
        latent, turning = self.kv_a_proj_with_mqa(x).split((mla.kv_lora_rank, mla.qk_rope_head_dim), -1)
        both = self.kv_b_proj(self.kv_a_layernorm(latent))
        both = both.unflatten(-1, (-1, mla.qk_nope_head_dim + mla.v_head_dim))  # [B, S, H, nope + v]
        plain, value = both.split((mla.qk_nope_head_dim, mla.v_head_dim), -1)
        turned = (half.expand(-1, -1, plain.shape[2], -1) for half in rotate(turning.unsqueeze(2), by))
        return torch.cat((plain, *turned), -1), value

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend causally; all are [B, S, H, head], the result has the value's head size.

        Fused kernels want one head size (and the general one is slower: 1.2 times on a CPU), so the narrower of
        value and key is padded with zeros, which change no product.
        """
        width, wanted = max(query.shape[-1], value.shape[-1]), value.shape[-1]
        query, key, value = (_widen(part, width).transpose(1, 2) for part in (query, key, value))
        attend = _attend_by_fused_kernel if self.mla.use_flash_mla else _attend_by_any_kernel
        return attend(query, key, value, self.scale).transpose(1, 2)[..., :wanted]


def _widen(x: Tensor, width: int) -> Tensor:
    return F.pad(x, (0, width - x.shape[-1])) if x.shape[-1] < width else x


def _attend_by_any_kernel(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)


def _attend_by_fused_kernel(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    try:
        with sdpa_kernel(FUSED_KERNELS):
            return _attend_by_any_kernel(query, key, value, scale)
    except RuntimeError as error:
        if not any(words in str(error) for words in NO_KERNEL):
            raise
        raise RuntimeError(
            f"model.mla.use_flash_mla is true, but {query.device} has no fused attention kernel for head size"
            f" {query.shape[-1]} in {query.dtype}; write use_flash_mla: false"
        ) from error
