"""The configuration files by which transformers knows the model."""

from typing import Any

from pipeline.settings.export import check_exportable
from pipeline.settings.model import ModelSettings, RopeSettings
from pipeline.tokenizer.special import SpecialIds

MODEL_TYPES = ("deepseek_v3", "glm4_moe_lite")
"""What transformers calls the models that are exported; it has their code itself."""


def transformers_config(model: ModelSettings, ids: SpecialIds, dtype: str) -> dict[str, Any]:
    """The content of config.json.

    `deepseek_v3` knows only dense layers that come first. Where they do not, the model is a `glm4_moe_lite`, which has
    the same attention and router and a list of layer kinds. Raises SettingsError where neither computes the same.
    """
    check_exportable(model)
    return {
        **_architecture(model),
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_layers,
        "num_nextn_predict_layers": model.mtp_depth,
        **_attention(model),
        **_experts(model),
        "hidden_act": "silu",
        "rms_norm_eps": model.rms_norm_eps,
        "initializer_range": model.init_std,
        "tie_word_embeddings": False,
        "dtype": dtype,
        **special_id_keys(ids),
    }


def special_id_keys(ids: SpecialIds) -> dict[str, int]:
    """The special ids, as config.json and generation_config.json name them."""
    return {"bos_token_id": ids.begin, "eos_token_id": ids.end, "pad_token_id": ids.pad}


def _architecture(model: ModelSettings) -> dict[str, Any]:
    if model.dense_layers_come_first:
        return {
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "deepseek_v3",
            "first_k_dense_replace": len(model.dense_layers),
        }
    dense = set(model.dense_layers)
    return {
        "architectures": ["Glm4MoeLiteForCausalLM"],
        "model_type": "glm4_moe_lite",
        "mlp_layer_types": ["dense" if layer in dense else "sparse" for layer in range(model.num_layers)],
    }


def _attention(model: ModelSettings) -> dict[str, Any]:
    mla = model.mla
    return {
        "num_attention_heads": mla.num_heads,
        "num_key_value_heads": mla.num_heads,
        "q_lora_rank": mla.q_lora_rank,
        "kv_lora_rank": mla.kv_lora_rank,
        "qk_nope_head_dim": mla.qk_nope_head_dim,
        "qk_rope_head_dim": mla.qk_rope_head_dim,
        "v_head_dim": mla.v_head_dim,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "max_position_embeddings": model.max_position_embeddings,
        "rope_interleave": True,
        "rope_parameters": _rope(model.rope),
    }


def _rope(rope: RopeSettings) -> dict[str, Any]:
    yarn = rope.yarn
    if yarn is None:
        return {"rope_type": "default", "rope_theta": rope.theta}
    return {
        "rope_type": "yarn",
        "rope_theta": rope.theta,
        "factor": yarn.factor,
        "original_max_position_embeddings": yarn.original_max_position,
        "beta_fast": yarn.beta_fast,
        "beta_slow": yarn.beta_slow,
        "mscale": yarn.mscale,
        "mscale_all_dim": yarn.mscale_all_dim,
    }


def _experts(model: ModelSettings) -> dict[str, Any]:
    moe = model.moe
    return {
        "n_routed_experts": moe.num_experts,
        "num_experts_per_tok": moe.top_k,
        "n_shared_experts": moe.num_shared_experts,
        "moe_intermediate_size": moe.intermediate_size,
        "n_group": moe.num_groups,
        "topk_group": moe.top_k_groups,
        "topk_method": "noaux_tc",
        "scoring_func": moe.score,
        "norm_topk_prob": moe.normalize_weights,
        "routed_scaling_factor": moe.routed_scaling_factor,
    }
