"""Our model against transformers' in fp32: logits and gradients, random weights, norms and router biases."""

import pytest
import torch
import torch.nn.functional as F
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, Glm4MoeLiteConfig, Glm4MoeLiteForCausalLM

YARN = {
    "factor": 4.0,
    "original_max_position": 16,
    "beta_fast": 8.0,
    "beta_slow": 1.0,
    "mscale": 0.7,
    "mscale_all_dim": 1.3,
}
CASES = {
    "first_k": {"first_k_dense": 2},
    "no_dense_layer": {"first_k_dense": 0},
    "interval": {"dense_layer_interval": 3, "num_layers": 5},
    "one_group": {"moe": {"num_groups": 1, "top_k_groups": 1}},
    "unnormalised": {"moe": {"normalize_weights": False, "routed_scaling_factor": 1.5, "num_shared_experts": 2}},
    "yarn": {"rope": {"theta": 500.0, "yarn": YARN}},
    "interval_and_yarn": {"dense_layer_interval": 2, "rope": {"theta": 10000.0, "yarn": YARN}},
    "values_wider_than_keys": {"mla": {"v_head_dim": 28}},
    "another_eps": {"rms_norm_eps": 1e-4},
}


def reference_of(model):
    """The transformers model of the same settings and weights."""
    settings = model.settings
    mla, moe, rope = settings.mla, settings.moe, settings.rope
    positions = {"rope_type": "default", "rope_theta": rope.theta}
    if rope.yarn:
        positions = {"rope_type": "yarn", "rope_theta": rope.theta} | {
            "factor": rope.yarn.factor,
            "original_max_position_embeddings": rope.yarn.original_max_position,
            "beta_fast": rope.yarn.beta_fast,
            "beta_slow": rope.yarn.beta_slow,
            "mscale": rope.yarn.mscale,
            "mscale_all_dim": rope.yarn.mscale_all_dim,
        }
    shared = {
        "vocab_size": settings.vocab_size,
        "hidden_size": settings.hidden_size,
        "intermediate_size": settings.intermediate_size,
        "num_hidden_layers": settings.num_layers,
        "num_attention_heads": mla.num_heads,
        "num_key_value_heads": mla.num_heads,
        "q_lora_rank": mla.q_lora_rank,
        "kv_lora_rank": mla.kv_lora_rank,
        "qk_nope_head_dim": mla.qk_nope_head_dim,
        "qk_rope_head_dim": mla.qk_rope_head_dim,
        "v_head_dim": mla.v_head_dim,
        "n_routed_experts": moe.num_experts,
        "num_experts_per_tok": moe.top_k,
        "n_shared_experts": moe.num_shared_experts,
        "moe_intermediate_size": moe.intermediate_size,
        "n_group": moe.num_groups,
        "topk_group": moe.top_k_groups,
        "norm_topk_prob": moe.normalize_weights,
        "routed_scaling_factor": moe.routed_scaling_factor,
        "rms_norm_eps": settings.rms_norm_eps,
        "max_position_embeddings": settings.max_position_embeddings,
        "rope_parameters": positions,
        "attn_implementation": "eager",
    }
    if settings.dense_layers_come_first:
        dense = len(settings.dense_layers)
        reference = DeepseekV3ForCausalLM(DeepseekV3Config(first_k_dense_replace=dense, **shared))
    else:
        kinds = ["dense" if layer in settings.dense_layers else "sparse" for layer in range(settings.num_layers)]
        reference = Glm4MoeLiteForCausalLM(Glm4MoeLiteConfig(mlp_layer_types=kinds, **shared))
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("mtp.")}
    named = {name if name.startswith("lm_head") else f"model.{name}": tensor for name, tensor in own.items()}
    reference.load_state_dict(named)  # strict
    return reference


def scaled_to_one(model, tokens):
    """Scale the output head so that logits have the standard deviation 1, as the tolerance is meant."""
    with torch.no_grad():
        model.lm_head.weight.div_(model(tokens).std())
    return model


@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients_equal_those_of_transformers(make_model, case):
    changes = {"mtp_depth": 0, **CASES[case]}
    tokens = torch.randint(0, 96, (3, 40), generator=torch.Generator().manual_seed(1))
    model = scaled_to_one(make_model(changes, seed=3), tokens)
    reference = reference_of(model)

    logits, expected = model(tokens), reference(tokens).logits
    assert expected.std().item() == pytest.approx(1, abs=1e-3)
    assert (logits - expected).abs().max() <= 1e-5

    F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    F.cross_entropy(expected[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    theirs = {name.removeprefix("model."): parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in model.named_parameters():
        assert (parameter.grad - theirs[name]).norm() <= 1e-5 * theirs[name].norm(), name


def test_the_chunked_training_loss_has_the_gradients_of_transformers(make_model):
    model = make_model({"mtp_depth": 0, "moe": {"sequence_loss_weight": 0.0}}, seed=5)
    tokens = torch.randint(3, 96, (2, 33), generator=torch.Generator().manual_seed(2))
    reference = reference_of(model)

    ours = model.losses(tokens, pad_id=2).total(mtp_weight=0.3)
    logits = reference(tokens[:, :-1]).logits
    theirs = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    ours.backward()
    theirs.backward()
    gradients = {name.removeprefix("model."): parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in model.named_parameters():
        assert (parameter.grad - gradients[name]).norm() <= 1e-5 * gradients[name].norm(), name
