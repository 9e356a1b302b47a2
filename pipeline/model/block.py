"""One transformer layer."""

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.model.attention import Attention
from pipeline.model.mlp import MLP
from pipeline.model.moe import MoE
from pipeline.model.norm import RMSNorm
from pipeline.model.rope import Rotation
from pipeline.model.router import Routing
from pipeline.settings.model import ModelSettings


class Block(nn.Module):
    """Attention, then an MLP or experts; each after a norm and added to the residual stream."""

    def __init__(self, settings: ModelSettings, sparse: bool) -> None:
        super().__init__()
        width, eps = settings.hidden_size, settings.rms_norm_eps
        self.dropout = settings.dropout
        self.input_layernorm = RMSNorm(width, eps)
        self.self_attn = Attention(width, settings.mla, settings.rope)
        self.post_attention_layernorm = RMSNorm(width, eps)
        self.mlp = MoE(width, settings.moe) if sparse else MLP(width, settings.intermediate_size)

    def forward(self, x: Tensor, by: Rotation) -> tuple[Tensor, Routing | None]:
        """[B, S, hidden_size] -> the same, and the routing of a layer with experts."""
        x = x + self._drop(self.self_attn(self.input_layernorm(x), by))
        inner = self.post_attention_layernorm(x)
        out, routing = self.mlp(inner) if isinstance(self.mlp, MoE) else (self.mlp(inner), None)
        return x + self._drop(out), routing

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x
