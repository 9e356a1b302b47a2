import copy
from typing import Any

import pytest

from pipeline.settings.base import SettingsError, compose, execution_of, identity
from pipeline.settings.stage import StageSettings

STAGE: dict[str, Any] = {
    "$schema": "../schema/stage.schema.json",
    "model": {
        "vocab_size": 512,
        "hidden_size": 64,
        "num_layers": 3,
        "intermediate_size": 128,
        "max_position_embeddings": 256,
        "mla": {
            "num_heads": 2,
            "q_lora_rank": 32,
            "kv_lora_rank": 32,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 16,
            "v_head_dim": 16,
        },
        "moe": {"num_experts": 8, "top_k": 2, "intermediate_size": 48, "num_groups": 4, "top_k_groups": 2},
    },
    "data": {"seq_len": 256},
    "training": {"total_tokens": 20480, "global_batch_size": 8, "lr": 0.004},
}
REMOVED = object()


def changed(path: str, value: object) -> dict[str, Any]:
    data = copy.deepcopy(STAGE)
    *sections, key = path.split(".")
    section = data
    for name in sections:
        section = section.setdefault(name, {})
    if value is REMOVED:
        del section[key]
    else:
        section[key] = value
    return data


def test_a_stage_names_its_schema_and_counts_its_rows() -> None:
    stage = StageSettings.parse(STAGE)
    assert stage.schema_path == STAGE["$schema"]
    assert stage.rows == 80


def test_a_stage_is_put_together_again_from_its_identity_and_its_execution() -> None:
    stage = StageSettings.parse(changed("training.micro_batch_size", 4))
    assert StageSettings.parse(compose(identity(stage), execution_of(stage), StageSettings)) == stage
    assert identity(stage) == identity(StageSettings.parse(STAGE))


def test_processes_that_cannot_share_a_batch_evenly_are_told_what_fits() -> None:
    section = changed("distributed.data_parallel", 8)
    section["training"]["micro_batch_size"] = 2
    ways_out = r"is 4 micro-batches of training\.micro_batch_size 2, .* write data_parallel 4, or .* that 16 divides"
    with pytest.raises(SettingsError, match=ways_out):
        StageSettings.parse(section)
    section["distributed"]["data_parallel"] = 4
    assert StageSettings.parse(section).distributed.world_size == 4


def test_a_stage_without_the_optional_sections_has_their_defaults() -> None:
    stage = StageSettings.parse({key: STAGE[key] for key in ("model", "data", "training")})
    assert (stage.distributed.engine, stage.evaluation.gate.below_unigram) == ("torch", True)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("model.moe.top_k", 9, "demo.json: model.moe.top_k is 9, but the chosen groups hold 4 experts"),
        ("model.moe.top_k", "2", "demo.json: model.moe.top_k: '2': input should be a valid integer"),
        ("model.moe.use_deep_ep", True, "demo.json: model.moe.use_deep_ep is true, but there is no expert parallelism"),
        ("model.moe.num_expert", 8, "demo.json: model.moe.num_expert: unknown key; did you mean 'num_experts'?"),
        ("model.moe", REMOVED, "demo.json: model.moe: is missing; give the expert layers"),
        ("training.lr", REMOVED, "demo.json: training.lr: is missing; give the peak learning rate"),
        ("training.lr", "1e-4", "demo.json: training.lr: '1e-4': input should be a valid number (this is text: write"),
        ("training.lr", 0, "demo.json: training.lr: 0: input should be greater than 0"),
        ("training.use_fp8", True, "demo.json: training.use_fp8 is true, but this version has no fp8 products; write"),
        ("training.betas", [0.9, 1.0], "demo.json: training.betas are [0.9, 1.0]; each must be at least 0 and below"),
        ("training.total_tokens", 4e9, "demo.json: training.total_tokens: 4000000000.0: input should be a valid integ"),
        ("data.seq_len", 512, "demo.json: data.seq_len is 512, but model.max_position_embeddings is 256; write"),
        ("data.sources", [{"name": "a", "weight": 0}], "demo.json: data.sources: every weight is 0; give at least one"),
        (
            "data.sources",
            [{"name": "a"}],
            "demo.json: data.sources[0].weight: is missing; give its share of the tokens",
        ),
        ("distributed.engine", "deepspeed", "demo.json: distributed.engine is 'deepspeed', but this version trains"),
        ("distributed.engine", "jax", "demo.json: distributed.engine: 'jax': input should be 'torch' or 'deepspeed'"),
        (
            "distributed.data_parallel",
            3,
            "demo.json: distributed.data_parallel is 3, but training.global_batch_size 8",
        ),
        ("distributed.data_parallel", 12, "demo.json: distributed.data_parallel is 12, but processes_per_node is 8"),
        ("distributed.tensor_parallel", 2, "demo.json: distributed.tensor_parallel is 2, but this version trains with"),
        ("distributed.pipeline_parallel", 2, "demo.json: distributed.pipeline_parallel is 2, but this version trains"),
        ("distributed.expert_parallel", 2, "demo.json: distributed.expert_parallel is 2, but this version trains with"),
        ("distributed.zero_stage", 1, "demo.json: distributed.zero_stage is 1, but ZeRO shares state"),
        ("distributed.zero_offload", True, "demo.json: distributed.zero_offload is True, but ZeRO shares state"),
        (
            "evaluation.gate.below_unigrams",
            True,
            "demo.json: evaluation.gate.below_unigrams: unknown key; did you mean 'below_unigram'?",
        ),
        ("schema", "a", "demo.json: schema: unknown key; did you mean '$schema'?"),
        ("optimizer", {}, "demo.json: optimizer: unknown key; known here: $schema, description, model, data, training"),
    ],
)
def test_a_wrong_stage_is_refused_by_file_key_value_and_way_out(path: str, value: object, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        StageSettings.parse(changed(path, value), where="demo.json:")
    assert str(refused.value).startswith(sentence)
