"""Names, and the cutting into files."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.export.weights import plan_shards, transformers_tensors


def test_names_and_parts_are_those_that_deepseek_v3_is_published_with(make_model):
    model = make_model()
    state = model.state_dict()
    found = transformers_tensors(state, 4)
    gate_up = state["layers.2.mlp.experts.gate_up_proj"]
    assert torch.equal(found["model.layers.2.mlp.experts.5.gate_proj.weight"], gate_up[5, :24])
    assert torch.equal(found["model.layers.2.mlp.experts.5.up_proj.weight"], gate_up[5, 24:])
    assert torch.equal(
        found["model.layers.2.mlp.experts.5.down_proj.weight"], state["layers.2.mlp.experts.down_proj"][5]
    )
    assert torch.equal(found["lm_head.weight"], model.lm_head.weight)
    for depth, layer in enumerate(("model.layers.4", "model.layers.5")):
        module = model.mtp[str(depth)]
        assert torch.equal(found[f"{layer}.enorm.weight"], module.enorm.weight)
        assert torch.equal(found[f"{layer}.hnorm.weight"], module.hnorm.weight)
        assert torch.equal(found[f"{layer}.eh_proj.weight"], module.eh_proj.weight)
        assert torch.equal(found[f"{layer}.shared_head.norm.weight"], module.norm.weight)
        assert torch.equal(found[f"{layer}.shared_head.head.weight"], model.lm_head.weight)
        assert torch.equal(found[f"{layer}.embed_tokens.weight"], model.embed_tokens.weight)
        assert torch.equal(found[f"{layer}.self_attn.o_proj.weight"], module.block.self_attn.o_proj.weight)
        bias = module.block.mlp.e_score_correction_bias
        assert torch.equal(found[f"{layer}.mlp.gate.e_score_correction_bias"], bias)
    assert not any(name.startswith(("mtp", "model.mtp")) or "gate_up" in name for name in found)


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 60))
def test_files_hold_every_tensor_once_in_order_and_keep_the_limit(sizes, limit):
    named = {str(number): size for number, size in enumerate(sizes)}
    shards = plan_shards(named, limit)
    assert [name for shard in shards for name in shard] == list(named)
    for shard in shards:
        assert sum(named[name] for name in shard) <= limit or len(shard) == 1 or limit < max(named[n] for n in shard)
