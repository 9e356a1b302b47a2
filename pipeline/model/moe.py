"""The mixture-of-experts layer (DeepSeekMoE, arXiv 2401.06066; arXiv 2412.19437, section 2.1.2)."""

from torch import Tensor, nn

from pipeline.model.experts import Experts
from pipeline.model.mlp import MLP
from pipeline.model.router import Router, Routing
from pipeline.settings.model import MoESettings


class MoE(nn.Module):
    """Shared experts for every token, and of the routed experts the few that the router chooses."""

    def __init__(self, hidden_size: int, moe: MoESettings) -> None:
        super().__init__()
        self.gate = Router(hidden_size, moe)
        self.experts = Experts(moe.num_experts, hidden_size, moe.intermediate_size)
        self.shared_experts = MLP(hidden_size, moe.num_shared_experts * moe.intermediate_size)

    @property
    def e_score_correction_bias(self) -> Tensor:
        """[num_experts] fp32: added to the scores for the choice; moves against the load."""
        return self.gate.e_score_correction_bias

    @property
    def expert_counts(self) -> Tensor:
        """[num_experts] int64: the tokens that each expert got in training since the last reset."""
        return self.gate.expert_counts

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """[B, S, hidden_size] -> the same, and the routing [B, S, ...].

        Nothing is counted here: a checkpointed block runs twice, its caller counts once.
        """
        routing = self.gate(x)
        flat = (x.flatten(0, -2), routing.experts.flatten(0, -2), routing.weights.flatten(0, -2))
        return self.experts(*flat).view_as(x) + self.shared_experts(x), routing
