"""Multi-token prediction modules (arXiv 2412.19437, section 2.2)."""

import torch
from torch import Tensor, nn

from pipeline.model.block import Block
from pipeline.model.norm import RMSNorm
from pipeline.model.rope import Rotation
from pipeline.model.router import Routing
from pipeline.settings.model import ModelSettings


class MTPModule(nn.Module):
    """One depth: joins the hidden states of the depth before with the embeddings of the next tokens (equation 21).

    Embedding and output head are the main model's. What goes in and out is normed, as serving engines and
    transformers' MtpModel chain them: the main model's final norm before the first depth, `norm` after each.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width, eps = settings.hidden_size, settings.rms_norm_eps
        self.enorm = RMSNorm(width, eps)
        self.hnorm = RMSNorm(width, eps)
        self.eh_proj = nn.Linear(2 * width, width, bias=False)
        self.block = Block(settings, sparse=True)
        self.norm = RMSNorm(width, eps)

    def join(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """[B, S, hidden_size] of each -> the block's input; the embedding comes first, as DeepSeek publishes it."""
        return self.eh_proj(torch.cat((self.enorm(embeddings), self.hnorm(hidden)), -1))

    def forward(self, hidden: Tensor, embeddings: Tensor, by: Rotation) -> tuple[Tensor, Routing | None]:
        """Normed hidden states [B, S, hidden_size] of this depth, and its routing."""
        out, routing = self.block(self.join(hidden, embeddings), by)
        return self.norm(out), routing
