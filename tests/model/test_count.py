"""Parameter and FLOP counts against the built model and against published figures."""

import pytest
import torch

from pipeline.model.count import parameters, training_flops_per_token
from pipeline.model.deepseek import DeepSeekV3
from pipeline.settings.model import ModelSettings


def stage(layers, hidden, seq_len, vocab, inner, expert, heads, q, kv, nope, rope, v, experts, top_k, shared, **more):
    mla = {"num_heads": heads, "q_lora_rank": q, "kv_lora_rank": kv}
    mla |= {"qk_nope_head_dim": nope, "qk_rope_head_dim": rope, "v_head_dim": v}
    moe = {"num_experts": experts, "top_k": top_k, "num_shared_experts": shared, "intermediate_size": expert}
    data = {"vocab_size": vocab, "hidden_size": hidden, "num_layers": layers, "intermediate_size": inner}
    data |= {"dense_layer_interval": 3, "max_position_embeddings": seq_len, "mla": mla, "moe": moe}
    return ModelSettings.parse(data | more)


# settings, then parameters, MTP, active (millions), and GFLOP a token without and with MTP
STAGES = {
    "demo": (stage(4, 256, 256, 8192, 768, 192, 4, 128, 64, 32, 32, 32, 8, 2, 1), 8.6, 1.6, 6.8, 0.030, 0.047),
    "tiny": (stage(4, 512, 512, 50304, 4096, 1536, 8, 256, 128, 64, 32, 64, 4, 2, 1), 90.9, 13.1, 81.5, 0.342, 0.549),
    "small": (stage(12, 1024, 2048, 65536, 4096, 3584, 16, 512, 256, 64, 64, 64, 8, 2, 1), 1019, 105, 491, 2.77, 3.42),
    "large": (
        stage(32, 4096, 4096, 129280, 11008, 640, 32, 1536, 512, 128, 64, 128, 64, 6, 2),
        14_703,
        592,
        5_124,
        31.6,
        35.7,
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_have_the_sizes_and_costs_they_are_meant_to_have(name):
    settings, total, mtp, active, gigaflops, with_mtp = STAGES[name]
    counted = parameters(settings)
    assert counted.total / 1e6 == pytest.approx(total, rel=5e-3)
    assert counted.mtp / 1e6 == pytest.approx(mtp, rel=5e-3)
    assert counted.active / 1e6 == pytest.approx(active, rel=5e-3)
    length = settings.max_position_embeddings
    assert training_flops_per_token(settings, length, with_mtp=False) / 1e9 == pytest.approx(gigaflops, rel=2e-2)
    assert training_flops_per_token(settings, length) / 1e9 == pytest.approx(with_mtp, rel=2e-2)


def test_deepseek_v3_itself_has_671_billion_parameters():
    settings = stage(
        61, 7168, 4096, 129280, 18432, 2048, 128, 1536, 512, 128, 64, 128, 256, 8, 1,
        dense_layer_interval=0, first_k_dense=3,
    )  # fmt: skip
    counted = parameters(settings)
    assert round(counted.total / 1e9, 1) == 671.0
    assert round(counted.active / 1e9, 1) == 37.6


@pytest.mark.parametrize("changes", [{}, {"dense_layer_interval": 2}, {"mtp_depth": 0, "first_k_dense": 0}])
def test_counts_equal_those_of_the_built_model(make_settings, changes):
    settings = make_settings(changes)
    with torch.device("meta"):
        model = DeepSeekV3(settings)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    mtp = sum(size for name, size in sizes.items() if name.startswith("mtp."))
    counted = parameters(settings)
    assert (counted.total, counted.mtp) == (sum(sizes.values()) - mtp, mtp)
    routed = sum(size for name, size in sizes.items() if ".experts." in name and not name.startswith("mtp."))
    idle = routed * (settings.moe.num_experts - settings.moe.top_k) // settings.moe.num_experts
    assert counted.active == counted.total - idle
