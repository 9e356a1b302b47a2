"""The step `train` on real rows: what it writes, how it goes on, and what it refuses."""

import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError, sha256_of
from pipeline.artifact.publish import listed_files
from pipeline.settings.base import SettingsError
from pipeline.train.checkpoint import read_checkpoint
from pipeline.train.checkpoints import checkpoints
from pipeline.train.engine import TorchEngine
from pipeline.train.outcome import TrainingError
from pipeline.train.schedule import learning_rate, mtp_weight
from pipeline.train.signals import Stopped
from pipeline.train.train import train

FILES = ["metrics.parquet", "model.safetensors", "validation.parquet"]


def _hashes(folder: Path) -> dict[str, str]:
    return {name: sha256_of(folder / name) for name in listed_files(folder)}


@pytest.fixture(scope="module")
def finished(short_stage: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished run: its folder and its counts."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, short_stage.train(folder)


def test_a_run_writes_weights_tables_and_its_last_checkpoint(
    short_stage: Any, finished: tuple[Path, dict[str, Any]]
) -> None:
    folder, counts = finished
    names = listed_files(folder)
    assert [name for name in names if not name.startswith("final/")] == FILES
    assert read_checkpoint(folder / "final").position.step == 12
    wanted = {"steps": 12, "samples": 48, "tokens": 3072, "skipped_steps": 0, "attempts": 1, "steps_without_metrics": 0}
    assert {key: counts[key] for key in wanted} == wanted
    assert counts["seconds"] > 0
    assert 0 < counts["mfu"] < 1
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == short_stage.engine(short_stage.settings()).model.state_dict().keys()
    assert not (folder / "run/lease.json").exists()


def test_the_loss_falls_and_rates_and_weights_are_those_of_the_schedule(
    short_stage: Any, finished: tuple[Path, dict[str, Any]]
) -> None:
    training = short_stage.settings().training
    table = pq.read_table(finished[0] / "metrics.parquet").to_pylist()
    assert [(row["step"], row["tokens"]) for row in table] == [(step, 256 * step) for step in range(1, 13)]
    for row in table:
        before = row["tokens"] - 256
        assert row["lr"] == learning_rate(row["tokens"], training.lr, 3072, training.schedule)
        assert row["mtp_weight"] == mtp_weight(before, 3072, training.mtp_weight)
        assert row["loss"] == pytest.approx(
            row["next_token"]
            + row["mtp_weight"] * (row["mtp_0"] + row["mtp_1"]) / 2
            + row["sequence_balance"]
            + row["switch_balance"]
        )
        assert 1 <= row["max_expert_load"] <= 4
        assert row["grad_norm"] > 0
    assert table[0]["next_token"] == pytest.approx(math.log(512), abs=0.1)
    assert table[-1]["next_token"] < table[0]["next_token"] - 0.3


def test_validations_come_at_their_steps_and_at_the_end(finished: tuple[Path, dict[str, Any]]) -> None:
    table = pq.read_table(finished[0] / "validation.parquet").to_pylist()
    assert sorted({row["step"] for row in table}) == [5, 10, 12]
    assert {row["domain"] for row in table} >= {"python_code", "docstrings", "(mixture)"}
    mixture = [row["bits_per_byte"] for row in table if row["domain"] == "(mixture)"]
    assert mixture == sorted(mixture, reverse=True)


def test_the_history_tells_code_programs_and_layout(finished: tuple[Path, dict[str, Any]]) -> None:
    rows = [json.loads(line) for line in (finished[0] / "run/history.jsonl").read_text().splitlines()]
    assert [(row["event"], row["step"]) for row in rows] == [
        ("start", 0), ("checkpoint", 3), ("checkpoint", 6), ("checkpoint", 9), ("finish", 12),
    ]  # fmt: skip
    assert rows[0]["code"] == "c" * 64
    assert rows[0]["execution"]["distributed"]["device"] == "cpu"
    assert {"torch", "python", "seekmake"} <= rows[0]["versions"].keys()


@pytest.mark.parametrize("keep_last", [1, 2])
def test_so_many_checkpoints_are_kept(short_stage: Any, tmp_path: Path, keep_last: int) -> None:
    short_stage.train(tmp_path, checkpoints={"interval_steps": 3, "keep_last": keep_last})
    assert [read_checkpoint(path).position.step for path in checkpoints(tmp_path / "run")] == [6, 9][-keep_last:]


def _lose_final(folder: Path) -> None:
    shutil.rmtree(folder / "final")


def _lose_final_and_a_checkpoint(folder: Path) -> None:
    _lose_final(folder)
    next((folder / "run/step-000000009").glob("*.safetensors")).write_bytes(b"broken")


def _lose_all_checkpoints(folder: Path) -> None:
    _lose_final(folder)
    for path in checkpoints(folder / "run"):
        (path / "complete.json").unlink()


def _lose_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("lose", "begins", "said"),
    [
        (_lose_weights, 12, "continuing after step 12"),
        (_lose_final, 9, "continuing after step 9"),
        (_lose_final_and_a_checkpoint, 6, "step-000000009/model-00001-of-00001.safetensors is missing or damaged"),
        (_lose_all_checkpoints, 0, "starting"),
    ],
)
def test_what_was_lost_is_made_again_with_the_same_bytes(
    short_stage: Any,
    finished: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    lose: Callable[[Path], None],
    begins: int,
    said: str,
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    lose(folder)
    counts = short_stage.train(folder)
    assert _hashes(folder) == _hashes(finished[0])
    assert counts["attempts"] == 2
    history = [json.loads(line) for line in (folder / "run/history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in history if row["event"] == "start"] == [0, begins]
    assert said in capfd.readouterr().err


def test_tables_outlive_the_working_data(
    short_stage: Any, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    shutil.rmtree(folder / "run")
    _lose_weights(folder)
    kept = frozenset(listed_files(folder))
    counts = train(short_stage.settings(), short_stage.build(folder, kept))
    assert _hashes(folder) == _hashes(finished[0])
    assert counts["steps_without_metrics"] == 0


def test_a_validation_that_a_stop_left_out_is_made_up_for(
    short_stage: Any, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    short_stage.train(tmp_path, checkpoints={"interval_steps": 5, "keep_last": 1})
    _lose_final(tmp_path)
    log = tmp_path / "run/validation.jsonl"
    log.write_text("".join(line for line in log.open() if json.loads(line)["step"] < 10))
    short_stage.train(tmp_path)
    assert _hashes(tmp_path) == _hashes(finished[0])


def test_metrics_lost_for_good_are_counted(
    short_stage: Any, finished: tuple[Path, dict[str, Any]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    _lose_final(folder)
    (folder / "run/metrics.jsonl").unlink()
    assert short_stage.train(folder)["steps_without_metrics"] == 9
    assert sha256_of(folder / "model.safetensors") == sha256_of(finished[0] / "model.safetensors")
    assert "the metrics of 9 steps are lost" in capfd.readouterr().err


def test_a_run_of_other_settings_is_refused(
    short_stage: Any, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    with pytest.raises(ArtifactError, match=r"final is a checkpoint of other settings \(training\.lr\); put them back"):
        short_stage.train(folder, lr=0.005)
    assert _hashes(folder) == _hashes(finished[0])


def test_how_it_is_computed_is_no_other_setting(
    short_stage: Any, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(finished[0], folder)
    _lose_final(folder)
    counts = short_stage.train(folder, micro_batch_size=4, gradient_checkpointing=True)
    assert counts["steps"] == 12
    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, finished[0]))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-2, atol=1e-3)


def test_weights_that_run_away_end_training_with_a_sentence_and_a_ledger(short_stage: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"3 steps in a row .*max_skipped_steps: 2.*Lower training\.lr") as error:
        short_stage.train(tmp_path, lr=1e30, schedule={"warmup_tokens": 0}, max_skipped_steps=2)
    assert "run/skipped.jsonl" in str(error.value)
    ledger = [json.loads(line) for line in (tmp_path / "run/skipped.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    skipped = [row["step"] for row in metrics if row["skipped"]]
    assert len(skipped) == 3
    assert [(row["step"], row["first_sample"], row["last_sample"]) for row in ledger] == [
        (step, 4 * step - 4, 4 * step - 1) for step in skipped
    ]
    assert all("nan" in row.values() or "inf" in row.values() for row in ledger)
    assert not {read_checkpoint(path).position.step for path in checkpoints(tmp_path / "run")} & set(skipped)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.fixture
def spoilt_update(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the update of a step overflow a weight, though its loss and gradient are finite."""
    update = TorchEngine.update
    done = {"steps": 0}

    def spoil(step: int) -> None:
        def update_and_spoil(engine: TorchEngine, lr: float, bias_speed: float) -> None:
            update(engine, lr, bias_speed)
            done["steps"] += 1
            if done["steps"] == step:
                engine.model.norm.weight.data[0] = math.inf

        monkeypatch.setattr(TorchEngine, "update", update_and_spoil)

    return spoil


@pytest.mark.parametrize("step", [6, 10])
def test_a_spoilt_state_is_not_saved_or_validated_and_pushes_out_no_checkpoint(
    short_stage: Any,
    tmp_path: Path,
    spoilt_update: Callable[[int], None],
    capfd: pytest.CaptureFixture[str],
    step: int,
) -> None:
    """Step 6 is one that is saved (every third), step 10 one that is validated (every fifth)."""
    spoilt_update(step)
    with pytest.raises(TrainingError, match=rf"step {step + 2}: 2 steps in a row"):
        short_stage.train(tmp_path, max_skipped_steps=1, checkpoints={"interval_steps": 3, "keep_last": 1})
    assert f"the state after step {step} is not finite, so it is not saved" in capfd.readouterr().err
    assert [read_checkpoint(path).position.step for path in checkpoints(tmp_path / "run")] == [(step - 1) // 3 * 3]


def test_a_run_that_was_spoilt_continues_from_its_last_good_checkpoint(
    short_stage: Any,
    finished: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    spoilt_update: Callable[[int], None],
) -> None:
    spoilt_update(6)
    with pytest.raises(TrainingError):
        short_stage.train(tmp_path, max_skipped_steps=1)
    short_stage.train(tmp_path)
    assert _hashes(tmp_path) == _hashes(finished[0])


def test_weights_that_are_spoilt_in_the_last_step_are_no_result(
    short_stage: Any, tmp_path: Path, spoilt_update: Callable[[int], None]
) -> None:
    spoilt_update(12)
    with pytest.raises(TrainingError, match=r"step 12: .* not finite at the end; lower training\.lr"):
        short_stage.train(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "final").exists()


def test_a_stop_does_not_save_a_spoilt_state(
    short_stage: Any, tmp_path: Path, spoilt_update: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt_update(5)
    spoiling = TorchEngine.update

    def update_and_stop(engine: TorchEngine, lr: float, bias_speed: float) -> None:
        spoiling(engine, lr, bias_speed)
        if not engine.is_finite():
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TorchEngine, "update", update_and_stop)
    with pytest.raises(Stopped) as stopped:
        short_stage.train(tmp_path)
    assert "after step 5; not saved, as its state is not finite" in stopped.value.message
    assert [read_checkpoint(path).position.step for path in checkpoints(tmp_path / "run")] == [3]


def _of_another(artifact: Artifact, role: str) -> Artifact:
    """The artifact as if it had been made of another one of this role."""
    inputs = [s.model_copy(update={"content": "0" * 64}) if s.role == role else s for s in artifact.manifest.inputs]
    return replace(artifact, manifest=artifact.manifest.model_copy(update={"inputs": tuple(inputs)}))


@pytest.mark.parametrize(
    ("given", "of", "said"),
    [
        ("shards", "tokenizer", r"shards/first-48/0000 was made with another tokenizer \(000000000000\)"),
        ("validation", "tokenizer", r"shards/small/validation was made with another tokenizer \(000000000000\)"),
        ("validation", "tokens", r"was made of another tokens/docstrings/0000 .* run the workflow again"),
    ],
)
def test_inputs_of_another_origin_are_refused(short_stage: Any, tmp_path: Path, given: str, of: str, said: str) -> None:
    build = short_stage.build(tmp_path)
    inputs = {**build.inputs, given: (_of_another(short_stage.inputs[given], of),)}
    with pytest.raises(ArtifactError, match=said):
        train(short_stage.settings(), replace(build, inputs=inputs))


def test_shards_of_two_mixtures_are_refused(short_stage: Any, fewer_rows: Artifact, tmp_path: Path) -> None:
    build = short_stage.build(tmp_path)
    blocks = (short_stage.inputs["shards"], _of_another(fewer_rows, "mixture"))
    with pytest.raises(ArtifactError, match=r"shards/first-47/0000 was packed of another mixture than shards/first-48"):
        train(short_stage.settings(), replace(build, inputs={**build.inputs, "shards": blocks}))


def test_damage_of_equal_size_in_a_shard_ends_training_with_its_name(short_stage: Any, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(short_stage.inputs["shards"].folder, copied)
    chunk = copied / "000000.zarr/c/0/0"
    data = bytearray(chunk.read_bytes())
    data[-1] ^= 1
    chunk.write_bytes(data)
    build = short_stage.build(tmp_path / "run")
    shards = (Artifact.open(copied / "manifest.json"),)
    with pytest.raises(ArtifactError, match=r"000000\.zarr/c/0/0 has other bytes"):
        train(short_stage.settings(), replace(build, inputs={**build.inputs, "shards": shards}))


def test_shards_of_other_rows_are_refused(short_stage: Any, fewer_rows: Artifact, tmp_path: Path) -> None:
    settings, build = short_stage.settings(), short_stage.build(tmp_path)
    with pytest.raises(ArtifactError, match="the shards hold 47 rows of 67 tokens, this stage needs 48 of 67"):
        train(settings, type(build)(tmp_path, {**build.inputs, "shards": (fewer_rows,)}, execution=build.execution))
    with pytest.raises(ArtifactError, match="48 rows of 67 tokens, this stage needs 48 of 66"):
        train(short_stage.settings({"mtp_depth": 1}), build)
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_larger_than_the_model_is_refused(short_stage: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"the tokenizer has 512 tokens, but model\.vocab_size is 500"):
        short_stage.train(tmp_path, {"vocab_size": 500})


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_what_the_machine_cannot_do_is_refused(short_stage: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"training\.use_bf16: true: on a CPU"):
        short_stage.train(tmp_path, use_bf16=True)
    build = short_stage.build(tmp_path, distributed={"device": "cuda"})
    with pytest.raises(SettingsError, match=r"distributed\.device: 'cuda'"):
        train(short_stage.settings(), build)


def test_a_closed_gate_is_refused_with_its_reasons(short_stage: Any, small_project: Any, tmp_path: Path) -> None:
    evaluation = small_project.copy("evaluate/small", tmp_path)
    manifest = evaluation.folder / "manifest.json"
    found = json.loads(manifest.read_text())
    found["counts"]["gate"] = {"passed": False, "reasons": ["3.1 bits per byte exceed 2.0 (gate.max_bits_per_byte)"]}
    manifest.write_text(json.dumps(found))
    with pytest.raises(ArtifactError, match=r"did not pass its gate .*3\.1 bits per byte exceed 2\.0"):
        train(short_stage.settings(), short_stage.build(tmp_path / "run", gate=str(manifest)))
