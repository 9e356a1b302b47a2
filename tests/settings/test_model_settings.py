"""The model's settings: what is refused, and how the layers are laid out."""

import copy

import pytest

from pipeline.settings.base import SettingsError, execution_of, identity
from pipeline.settings.model import ModelSettings

DEMO = {
    "vocab_size": 8192,
    "hidden_size": 256,
    "num_layers": 8,
    "intermediate_size": 768,
    "mla": {
        "num_heads": 4,
        "q_lora_rank": 128,
        "kv_lora_rank": 64,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 32,
        "v_head_dim": 32,
    },
    "moe": {"num_experts": 8, "top_k": 2, "intermediate_size": 192},
}


def changed(path, value):
    data = copy.deepcopy(DEMO)
    *sections, key = path.split(".")
    section = data
    for name in sections:
        section = section.setdefault(name, {})
    section[key] = value
    return data


@pytest.mark.parametrize(
    ("first", "interval", "dense", "come_first"),
    [
        (3, 0, (0, 1, 2), True),
        (0, 0, (), True),
        (1, 3, (0, 3, 6), False),
        (0, 3, (0, 3, 6), False),
        (2, 3, (0, 1, 3, 6), False),
        (1, 7, (0, 7), False),
        (1, 8, (0,), True),
        (8, 0, tuple(range(8)), True),
        (0, 1, tuple(range(8)), True),
    ],
)
def test_dense_layers_stand_first_and_at_every_interval(first, interval, dense, come_first):
    settings = ModelSettings.parse(DEMO | {"first_k_dense": first, "dense_layer_interval": interval})
    assert settings.dense_layers == dense
    assert sorted(settings.dense_layers + settings.sparse_layers) == list(range(8))
    assert settings.dense_layers_come_first is come_first


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("mla.qk_rope_head_dim", 33, ["model.mla.qk_rope_head_dim", "33", "write 34"]),
        ("moe.num_groups", 3, ["model.moe", "num_groups is 3", "num_experts 8", "divisor"]),
        ("moe.top_k_groups", 2, ["model.moe", "top_k_groups is 2", "num_groups is 1", "write 1 or less"]),
        ("moe.num_groups", 8, ["model.moe", "num_groups is 8", "one expert a group"]),
        ("moe.top_k", 9, ["model.moe", "top_k is 9", "8 experts", "write 8 or less"]),
        ("moe.use_deep_ep", True, ["model.moe.use_deep_ep", "expert parallelism", "write false"]),
        ("moe.num_experts", 1, ["model.moe.num_experts", "1"]),
        ("moe.score", "tanh", ["model.moe.score", "tanh", "sigmoid"]),
        ("first_k_dense", 9, ["first_k_dense is 9", "num_layers is 8"]),
        ("dropout", 1.0, ["model.dropout", "1.0"]),
        ("rope.theta", 1.0, ["model.rope.theta", "1.0"]),
        ("rope.yarn", {"factor": 0.5, "original_max_position": 64}, ["model.rope.yarn.factor", "0.5"]),
        ("rope.yarn", {"factor": 2.0, "original_max_position": 64}, ["max_position_embeddings is 4096", "factor 2.0"]),
        (
            "rope.yarn",
            {"factor": 64.0, "original_max_position": 64, "beta_fast": 1.0, "beta_slow": 2.0},
            ["model.rope.yarn", "beta_fast is 1.0", "beta_slow 2.0"],
        ),
        ("hidden_sise", 256, ["model.hidden_sise", "unknown key", "hidden_size"]),
        ("hidden_size", "256", ["model.hidden_size", "256"]),
        ("vocab_size", 0, ["model.vocab_size", "0"]),
    ],
)
def test_impossible_settings_are_refused_with_key_value_and_way_out(path, value, words):
    with pytest.raises(SettingsError) as refused:
        ModelSettings.parse(changed(path, value), where="model")
    for word in words:
        assert word in str(refused.value)


def test_top_k_must_fit_into_the_chosen_groups():
    moe = DEMO["moe"] | {"num_groups": 4, "top_k_groups": 1, "top_k": 3}
    with pytest.raises(SettingsError, match="the chosen groups hold 2 experts"):
        ModelSettings.parse(DEMO | {"moe": moe})


def test_kernels_are_execution_and_stay_out_of_the_identity():
    plain = ModelSettings.parse(DEMO)
    flash = ModelSettings.parse(changed("mla.use_flash_mla", True))
    assert identity(plain) == identity(flash)
    assert execution_of(flash)["mla"] == {"use_flash_mla": True}
    assert ModelSettings.parse(identity(flash)) == plain


def test_defaults_are_those_of_deepseek_v3():
    settings = ModelSettings.parse(DEMO)
    moe = settings.moe
    assert (moe.score, moe.normalize_weights, moe.routed_scaling_factor) == ("sigmoid", True, 2.5)
    assert (moe.bias_update_speed, moe.sequence_loss_weight, moe.router_aux_loss_weight) == (0.001, 0.0001, 0.0)
    assert (settings.init_std, settings.rms_norm_eps, settings.mtp_depth, settings.rope.theta) == (0.006, 1e-6, 1, 1e4)
