"""The sections `training` and `distributed`: what they refuse, and what is no part of a stage's identity."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.base import SettingsError, identity
from pipeline.settings.distributed import DistributedSettings
from pipeline.settings.training import TrainingSettings

LEAST: dict[str, Any] = {"total_tokens": 4096, "global_batch_size": 8, "lr": 0.001}


def parse(**changed: Any) -> TrainingSettings:
    return TrainingSettings.parse({**LEAST, **changed}, "training")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"micro_batch_size": 3}, r"training\.micro_batch_size is 3, .* global_batch_size 8; choose a divisor"),
        ({"micro_batch_size": 16}, r"training\.micro_batch_size is 16"),
        ({"use_fp8": True}, r"training\.use_fp8 is true, .* write use_bf16: true"),
        ({"betas": [0.9, 1.0]}, r"training\.betas are \[0\.9, 1\.0\]; .* such as \[0\.9, 0\.95\]"),
        ({"betas": [0.9]}, r"training\.betas"),
        ({"lr": 0}, r"training\.lr: 0"),
        ({"lr": "1e-4"}, r"training\.lr: '1e-4': .*write 0\.0001"),
        ({"total_tokens": 0}, r"training\.total_tokens: 0"),
        (
            {"schedule": {"warmup_tokens": 5000}},
            r"training\.schedule\.warmup_tokens .* 5000, more than total_tokens 4096",
        ),
        (
            {"schedule": {"constant_tokens": 10}},
            r"training\.schedule\.constant_tokens is 10, but kind is 'cosine'.*write kind 'constant_then_cosine'",
        ),
        ({"schedule": {"kind": "linear"}}, r"training\.schedule\.kind: 'linear'"),
        ({"checkpoints": {"keep_last": 0}}, r"training\.checkpoints\.keep_last: 0"),
        ({"checkpoints": {"interval_steps": 0}}, r"training\.checkpoints\.interval_steps: 0"),
        ({"checkpoints": {"margin_seconds": -1}}, r"training\.checkpoints\.margin_seconds: -1"),
        ({"seed": -1}, r"training\.seed: -1"),
        ({"seed": 2**63}, r"training\.seed: 9223372036854775808"),
        ({"max_skipped_steps": -1}, r"training\.max_skipped_steps: -1"),
        ({"mtp_weight": {"switch_fraction": 2}}, r"training\.mtp_weight\.switch_fraction: 2"),
        ({"learning_rate": 0.1}, r"training\.learning_rate: unknown key"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        parse(**changed)


@given(st.integers(1, 10**6), st.integers(1, 64), st.integers(1, 512))
def test_steps_are_the_fewest_that_reach_the_tokens(total_tokens: int, batch: int, seq_len: int) -> None:
    training = parse(total_tokens=total_tokens, global_batch_size=batch)
    steps, step_tokens = training.steps(seq_len), batch * seq_len
    assert (steps - 1) * step_tokens < total_tokens <= steps * step_tokens
    assert training.rows(seq_len) == steps * batch


def test_how_a_stage_is_computed_is_no_part_of_its_identity() -> None:
    how = {
        "micro_batch_size": 4,
        "gradient_checkpointing": True,
        "checkpoints": {"interval_steps": 7, "keep_last": 5, "margin_seconds": 600},
        "max_skipped_steps": 3,
        "wandb_project": "mine",
    }
    assert identity(parse(**how)) == identity(parse())
    for key, value in {"lr": 0.002, "seed": 1, "weight_decay": 0.2, "use_bf16": True}.items():
        assert identity(parse(**{key: value})) != identity(parse()), key


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"engine": "deepspeed"}, r"distributed\.engine is 'deepspeed', .* write 'torch'"),
        ({"tensor_parallel": 2}, r"distributed\.tensor_parallel is 2, .* write 1"),
        (
            {"data_parallel": 12},
            r"distributed\.data_parallel is 12, .*per_node is 8, .* write data_parallel 8, .* divides 12",
        ),
        ({"data_parallel": 0}, r"distributed\.data_parallel: 0"),
        ({"processes_per_node": 0}, r"distributed\.processes_per_node: 0"),
        ({"zero_stage": 2}, r"distributed\.zero_stage is 2, .* write zero_stage 0"),
        ({"zero_offload": True}, r"distributed\.zero_offload is True"),
        ({"zero_stage": 4}, r"distributed\.zero_stage: 4"),
        ({"device": "tpu"}, r"distributed\.device: 'tpu'"),
        ({"threads": -1}, r"distributed\.threads: -1"),
    ],
)
def test_a_layout_that_this_version_cannot_do_is_refused(section: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        DistributedSettings.parse(section, "distributed")


def test_no_layout_is_part_of_an_identity() -> None:
    section = {"device": "cpu", "threads": 3, "data_parallel": 32, "processes_per_node": 16}
    assert identity(DistributedSettings.parse(section, "distributed")) == {}


@pytest.mark.parametrize(
    ("processes", "most", "nodes", "each"), [(1, 8, 1, 1), (6, 8, 1, 6), (8, 8, 1, 8), (16, 8, 2, 8), (4, 1, 4, 1)]
)
def test_processes_are_spread_evenly_over_nodes(processes: int, most: int, nodes: int, each: int) -> None:
    section = {"data_parallel": processes, "processes_per_node": most}
    layout = DistributedSettings.parse(section, "distributed")
    assert (layout.world_size, layout.nodes, layout.processes_a_node) == (processes, nodes, each)
