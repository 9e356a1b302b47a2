"""One training step's forward and backward pass, ours against transformers', at the demo's shape on one CPU thread.

    python tests/benchmarks/model_step.py [pairs]

Both models have the same weights and compute the same loss: next-token cross-entropy, without MTP and balance
losses, which transformers does not have. transformers runs its fastest way here: grouped_mm experts and SDPA. Process
time in interleaved pairs, in alternating order; the median of the pairs' ratios is printed. The goal is 1.10.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import Glm4MoeLiteConfig, Glm4MoeLiteForCausalLM

from pipeline.model.count import training_flops_per_token
from pipeline.model.deepseek import DeepSeekV3
from pipeline.model.initialize import initialize
from pipeline.settings.model import ModelSettings

STAGE = Path(__file__).parents[2] / "config/stages/demo.json"
ROWS = 8
NO_EXTRAS = {"sequence_loss_weight": 0.0, "router_aux_loss_weight": 0.0}


def demo_shape() -> tuple[ModelSettings, int]:
    """The demo's model without MTP and balance losses, and its sequence length."""
    stage = json.loads(STAGE.read_text())
    model = stage["model"]
    model |= {"mtp_depth": 0, "moe": model["moe"] | NO_EXTRAS}
    return ModelSettings.parse(model), stage["data"]["seq_len"]


def reference_of(model: DeepSeekV3) -> Glm4MoeLiteForCausalLM:
    """The transformers model of the same weights, which knows dense layers anywhere."""
    settings = model.settings
    mla, moe = settings.mla, settings.moe
    config = Glm4MoeLiteConfig(
        vocab_size=settings.vocab_size,
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=mla.num_heads,
        num_key_value_heads=mla.num_heads,
        q_lora_rank=mla.q_lora_rank,
        kv_lora_rank=mla.kv_lora_rank,
        qk_nope_head_dim=mla.qk_nope_head_dim,
        qk_rope_head_dim=mla.qk_rope_head_dim,
        v_head_dim=mla.v_head_dim,
        n_routed_experts=moe.num_experts,
        num_experts_per_tok=moe.top_k,
        n_shared_experts=moe.num_shared_experts,
        moe_intermediate_size=moe.intermediate_size,
        n_group=moe.num_groups,
        topk_group=moe.top_k_groups,
        norm_topk_prob=moe.normalize_weights,
        routed_scaling_factor=moe.routed_scaling_factor,
        rms_norm_eps=settings.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": settings.rope.theta},
        mlp_layer_types=["dense" if n in settings.dense_layers else "sparse" for n in range(settings.num_layers)],
        use_cache=False,
        attn_implementation="sdpa",
        experts_implementation="grouped_mm",
    )
    reference = Glm4MoeLiteForCausalLM(config)
    state = model.state_dict()
    reference.load_state_dict({name if name.startswith("lm_head") else f"model.{name}": state[name] for name in state})
    return reference.train()


def seconds(step: Callable[[], torch.Tensor], model: torch.nn.Module) -> tuple[float, float]:
    """Process time of a step, and its loss."""
    model.zero_grad(set_to_none=True)
    start = time.process_time()
    loss = step()
    loss.backward()
    return time.process_time() - start, loss.item()


def main(pairs: int) -> None:
    """Print the median times, the ratio, and the model FLOPs utilisation's numerator."""
    torch.set_num_threads(1)
    settings, length = demo_shape()
    model = DeepSeekV3(settings).train()
    initialize(model, settings, seed=0)
    reference = reference_of(model)
    rows = torch.randint(6, settings.vocab_size, (ROWS, length + 1), generator=torch.Generator().manual_seed(0))

    def ours() -> torch.Tensor:
        return model.losses(rows, pad_id=2).total(mtp_weight=0.0)

    def theirs() -> torch.Tensor:
        return reference(rows[:, :-1], labels=rows[:, :-1], shift_labels=rows[:, 1:].contiguous()).loss

    for _ in range(2):
        own_loss, their_loss = seconds(ours, model)[1], seconds(theirs, reference)[1]
    assert abs(own_loss - their_loss) < 1e-5, (own_loss, their_loss)
    own_times, their_times = [], []
    for pair in range(pairs):
        if pair % 2:
            their_times.append(seconds(theirs, reference)[0])
        own_times.append(seconds(ours, model)[0])
        if not pair % 2:
            their_times.append(seconds(theirs, reference)[0])
    ratio = statistics.median(their / own for own, their in zip(own_times, their_times, strict=True))
    own = statistics.median(own_times)
    flops = training_flops_per_token(settings, length, with_mtp=False) * ROWS * length
    print(f"ours {own:.4f} s, transformers {statistics.median(their_times):.4f} s, ratio {ratio:.3f}")
    print(f"{ROWS * length / own:.0f} tokens/s, {flops / own / 1e9:.1f} GFLOP/s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
