"""What was made elsewhere becomes an artifact, or is refused in a sentence and nothing changes."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workplace import Workplace, has_checkpoint

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.code import ROOT
from pipeline.artifact.files import ArtifactError
from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import MANIFEST, RECORD, Manifest, read_manifest, write_manifest
from pipeline.artifact.publish import building_folder
from pipeline.artifact.verify import damage
from pipeline.manage.adopt import adopt
from pipeline.manage.places import places

BLOCK = "tokens/docstrings/0000"


def elsewhere(workplace: Workplace, name: str) -> Path:
    """Take an artifact out of the results to another place: as if it had been made in another project."""
    folder = workplace.results.parent / "elsewhere" / name.replace("/", "-")
    shutil.move(workplace.results / name, folder)
    return folder


def rewrite(folder: Path, change: Callable[[Manifest], dict[str, Any]]) -> None:
    """Change the record of an artifact that was made elsewhere."""
    record = read_manifest(folder / RECORD)
    write_manifest(folder, RECORD, record.model_copy(update=change(record)))


def made_by_other_code(folder: Path) -> None:
    rewrite(folder, lambda record: {"fingerprint": "f" * 64, "code": "c" * 64, "code_files": {"old.py": "c" * 64}})


def with_input(role: str, content: str) -> Callable[[Manifest], dict[str, Any]]:
    """A record whose input of a role had another content."""
    return lambda record: {
        "inputs": tuple(
            source.model_copy(update={"content": content}) if source.role == role else source
            for source in record.inputs
        )
    }


def refused(workplace: Workplace, source: Path, name: str, why: str = "it is good", move: bool = False) -> str:
    """Why something is not adopted; nothing has changed then."""
    before = snapshot(workplace.results), snapshot(source)
    with pytest.raises(ArtifactError) as error:
        adopt(workplace.graph, source, name, why, move)
    assert (snapshot(workplace.results), snapshot(source)) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def snapshot(folder: Path) -> dict[str, float]:
    paths = [path for path in (folder, *folder.rglob("*")) if ".locks" not in path.parts and path.is_file()]
    return {str(path): path.stat().st_mtime_ns for path in paths}


def require_adopted(workplace: Workplace, name: str, before: str) -> Manifest:
    """The artifact is whole, its step does not run, and it says who brought it."""
    assert not workplace.graph.state(name).runs
    record = Artifact.open(workplace.results / name / MANIFEST).manifest
    assert record == read_manifest(workplace.results / name / RECORD)
    assert record.name == name
    assert list(damage(workplace.results / name, record, hashed_bytes=sys.maxsize)) == []
    said = record.accepted[-1]
    assert said.before == before
    assert "@" in said.who
    assert said.when.startswith("20")
    assert not list(workplace.results.rglob("*.building-adopted"))
    return record


def test_a_bare_tokenizer_becomes_the_tokenizer_and_what_follows_is_stale(workplace: Workplace, tmp_path: Path) -> None:
    own = tmp_path / "mine.json"
    plain = json.loads((workplace.results / "tokenizer/tokenizer.json").read_text())
    own.write_text(json.dumps(plain, indent=3))  # the same tokens, other bytes
    counts = workplace.graph.record("tokenizer").counts
    told = adopt(workplace.graph, own, "tokenizer", "the one of our paper")
    record = require_adopted(workplace, "tokenizer", before="")
    assert told == f"tokenizer is adopted as {record.fingerprint[:12]}: its step does not run"
    assert record.counts == {key: counts[key] for key in ("vocabulary", "special_ids")}
    assert record.accepted[-1].why.startswith("the one of our paper (adopted from ")
    assert (workplace.results / "tokenizer/tokenizer.json").read_bytes() == own.read_bytes()
    assert workplace.graph.state(BLOCK).runs
    asides = [place.path for place in places(workplace.results, []) if place.kind == "aside"]
    assert [path.name for path in asides] == [f"tokenizer.aside-{record.fingerprint[:12]}"]
    own.write_text("edited in place")
    require_adopted(workplace, "tokenizer", before="")


def test_a_tokenizer_artifact_brings_its_counts_and_versions(workplace: Workplace) -> None:
    source = elsewhere(workplace, "tokenizer")
    made_by_other_code(source)
    old = read_manifest(source / RECORD)
    adopt(workplace.graph, source, "tokenizer", "made on the cluster")
    record = require_adopted(workplace, "tokenizer", before="f" * 64)
    assert (record.counts, record.cost, record.versions) == (old.counts, old.cost, old.versions)
    assert not workplace.graph.running(), "its content is what it was"


def test_a_folder_with_a_tokenizer_is_taken_too(workplace: Workplace) -> None:
    source = elsewhere(workplace, "tokenizer")
    for name in (RECORD, MANIFEST):
        (source / name).unlink()
    adopt(workplace.graph, source, "tokenizer", "by hand")
    require_adopted(workplace, "tokenizer", before="")


def test_a_file_that_is_no_tokenizer_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "is not a tokenizer that `tokenizers` can read" in refused(
        workplace, tmp_path / "tokenizer.json", "tokenizer"
    )


def test_a_tokenizer_that_is_too_large_is_refused(workplace: Workplace) -> None:
    source = elsewhere(workplace, "tokenizer") / "tokenizer.json"
    settings = workplace.project.workflow.tokenizer.model_copy(update={"vocab_size": 300})
    workplace.project = replace(
        workplace.project, workflow=workplace.project.workflow.model_copy(update={"tokenizer": settings})
    )
    assert refused(workplace, source, "tokenizer") == (
        f"{source} has 512 tokens, tokenizer.vocab_size allows 300; set tokenizer.vocab_size to 512"
    )


def test_another_tokenizer_than_the_settings_name_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    shutil.copy(workplace.results / "tokenizer/tokenizer.json", own)
    settings = workplace.project.workflow.tokenizer.model_copy(update={"path": str(own)})
    workplace.project = replace(
        workplace.project, workflow=workplace.project.workflow.model_copy(update={"tokenizer": settings})
    )
    other = tmp_path / "other.json"
    other.write_text(own.read_text() + "\n")
    assert "is not the file that tokenizer.path names" in refused(workplace, other, "tokenizer")
    adopt(workplace.graph, own, "tokenizer", "the very file")
    require_adopted(workplace, "tokenizer", before="")


def test_a_block_of_tokens_is_adopted(workplace: Workplace) -> None:
    source = elsewhere(workplace, BLOCK)
    made_by_other_code(source)
    old = read_manifest(source / RECORD)
    adopt(workplace.graph, source, BLOCK, "made on the cluster")
    record = require_adopted(workplace, BLOCK, before="f" * 64)
    assert (record.counts, record.files) == (old.counts, old.files)
    assert source.exists()
    assert not workplace.graph.running()
    linked = workplace.results / BLOCK / record.files[0].path
    assert linked.stat().st_ino == (source / record.files[0].path).stat().st_ino


def test_a_block_that_is_moved_leaves_nothing_but_strangers(workplace: Workplace) -> None:
    source = elsewhere(workplace, BLOCK)
    adopt(workplace.graph, source, BLOCK, "made on the cluster", move=True)
    require_adopted(workplace, BLOCK, before=read_manifest(workplace.results / BLOCK / RECORD).fingerprint)
    assert not source.exists()
    source = elsewhere(workplace, "tokens/python_code/0000")
    (source / "notes.txt").write_text("mine")
    adopt(workplace.graph, source, "tokens/python_code/0000", "made on the cluster", move=True)
    assert [path.name for path in source.rglob("*")] == ["notes.txt"]


def test_a_block_without_a_record_is_refused(workplace: Workplace) -> None:
    source = elsewhere(workplace, BLOCK)
    (source / RECORD).unlink()
    found = refused(workplace, source, BLOCK)
    assert found.startswith(
        f"{source} has no artifact.json, so nothing says what it was made of; copy the whole folder"
    )


def test_a_block_of_another_tokenizer_or_other_text_is_refused_with_both_digests(workplace: Workplace) -> None:
    source = elsewhere(workplace, BLOCK)
    ours = {one.role: one.content[:12] for one in read_manifest(source / RECORD).inputs}
    for role in ("tokenizer", "raw"):
        whole = read_manifest(source / RECORD)
        rewrite(source, with_input(role, "e" * 64))
        assert f"was made of the {role} {'e' * 12}, but this workflow's is {ours[role]}" in refused(
            workplace, source, BLOCK
        )
        write_manifest(source, RECORD, whole)
    adopt(workplace.graph, source, BLOCK, "as it was")


def test_a_block_with_other_validation_documents_is_refused(workplace: Workplace) -> None:
    source = elsewhere(workplace, BLOCK)
    rewrite(source, lambda record: {"settings": {**record.settings, "validation": {"fraction": 0.5, "seed": 0}}})
    assert "validation.fraction: 0.5 -> 0.15" in refused(workplace, source, BLOCK)


def test_an_artifact_of_another_step_is_refused(workplace: Workplace) -> None:
    source = elsewhere(workplace, "mixture/small")
    assert f"was made by the step mixture, but {BLOCK} is made by tokenize" in refused(workplace, source, BLOCK)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "is missing; copy the artifact again"),
        (lambda path: path.write_bytes(path.read_bytes() + b"1"), "bytes, not"),
        (lambda path: path.write_bytes(b"\1" * path.stat().st_size), "has other bytes than when it was made (SHA-256)"),
    ],
)
def test_a_damaged_block_is_refused(workplace: Workplace, spoil: Callable[[Path], Any], words: str) -> None:
    source = elsewhere(workplace, BLOCK)
    spoil(source / "tokens.zarr/train/tokens/c/0")
    found = refused(workplace, source, BLOCK)
    assert words in found
    assert str(source / "tokens.zarr/train/tokens/c/0") in found


def test_a_link_that_leads_out_of_an_artifact_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    source = elsewhere(workplace, BLOCK)
    secret = source / "tokens.zarr/train/tokens/c/0"
    shutil.move(secret, tmp_path / "outside")
    secret.symlink_to(tmp_path / "outside")
    assert "is a link that leads out of its folder" in refused(workplace, source, BLOCK)


def test_a_finished_run_is_adopted_with_its_story(workplace: Workplace) -> None:
    source = elsewhere(workplace, "train/small")
    made_by_other_code(source)
    old = read_manifest(source / RECORD)
    adopt(workplace.graph, source, "train/small", "trained on the cluster")
    record = require_adopted(workplace, "train/small", before="f" * 64)
    assert (record.counts, record.cost, record.versions, record.files) == (
        old.counts, old.cost, old.versions, old.files,
    )  # fmt: skip
    history = workplace.results / "train/small/run/history.jsonl"
    assert history.read_text() == (source / "run/history.jsonl").read_text()
    assert history.stat().st_ino != (source / "run/history.jsonl").stat().st_ino
    assert list((workplace.results / "train/small/run/tensorboard").iterdir())
    assert not workplace.graph.running()


def test_a_run_of_other_training_settings_may_stand_for_the_stage(workplace: Workplace) -> None:
    """Whoever adopts it says so; the model is what later steps rely on. The replaced run is kept aside."""
    before = read_manifest(workplace.results / "train/small" / RECORD)
    source = workplace.results.parent / "other"
    shutil.copytree(workplace.results / "train/small", source)
    rewrite(source, lambda record: {"fingerprint": "f" * 64, "settings": {**record.settings, "seq_len": 32}})
    adopt(workplace.graph, source, "train/small", "as good")
    record = require_adopted(workplace, "train/small", before="f" * 64)
    assert record.settings == workplace.graph.nodes["train/small"].settings
    assert read_manifest(workplace.results / f"train/small.aside-{before.fingerprint[:12]}" / RECORD) == before


def test_a_run_of_another_model_is_refused_with_the_keys(workplace: Workplace) -> None:
    source = elsewhere(workplace, "train/small")
    rewrite(
        source,
        lambda record: {
            "settings": {**record.settings, "model": {**record.settings["model"], "hidden_size": 96, "num_layers": 5}}
        },
    )
    found = refused(workplace, source, "train/small")
    assert "holds another model (model.hidden_size: 96 -> 64; model.num_layers: 5 -> 3)" in found


def test_a_run_with_another_tokenizer_is_refused(workplace: Workplace) -> None:
    source = elsewhere(workplace, "train/small")
    rewrite(source, with_input("tokenizer", "e" * 64))
    assert f"was made of the tokenizer {'e' * 12}, but this workflow's is " in refused(workplace, source, "train/small")


def test_a_folder_that_is_neither_a_run_nor_a_checkpoint_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    found = refused(workplace, tmp_path / "weights", "train/small")
    assert "or name a checkpoint such as step-000000100, with its complete.json" in found


def checkpoint(workplace: Workplace, step: int = 12) -> Path:
    """A checkpoint and the logs beside it, as a killed run left them, taken to another place."""
    workplace.lose("train/small")
    workplace.kill_training(has_checkpoint(step))
    run = workplace.results.parent / "elsewhere/run"
    shutil.move(workplace.building() / "run", run)
    shutil.rmtree(workplace.building())
    return run / f"step-{step:09d}"


def test_training_goes_on_from_an_adopted_checkpoint_and_ends_with_the_same_bytes(workplace: Workplace) -> None:
    expected = read_manifest(workplace.results / "train/small" / RECORD)
    source = checkpoint(workplace)
    told = adopt(workplace.graph, source, "train/small", "from the cluster")
    building = building_folder(workplace.results / "train/small", workplace.graph.planned("train/small").run)
    assert told == f"train/small will go on after step 12, in {building.name}"
    process = workplace.start_training()
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "continuing after step 12" in error
    record = read_manifest(workplace.results / "train/small" / RECORD)
    assert record.content == expected.content
    assert record.counts["steps_without_metrics"] == 0
    lines = (workplace.results / "train/small/run/history.jsonl").read_text().splitlines()
    adopted = json.loads(lines[0])
    assert (adopted["event"], adopted["step"]) == ("checkpoint", 12)
    assert adopted["adopted"]["why"] == "from the cluster (adopted from run/step-000000012)"


def test_a_checkpoint_is_moved_where_that_is_asked(workplace: Workplace) -> None:
    source = checkpoint(workplace)
    adopt(workplace.graph, source, "train/small", "from the cluster", move=True)
    assert not source.exists()
    assert (source.parent / "metrics.jsonl").exists()


def test_a_checkpoint_of_other_settings_is_refused_with_the_keys(workplace: Workplace) -> None:
    source = checkpoint(workplace)
    workplace.change_training(lr=0.001, betas=[0.8, 0.9])
    found = refused(workplace, source, "train/small")
    assert (
        "is a checkpoint of other settings (training.betas: [0.9, 0.95] -> [0.8, 0.9]; training.lr: 0.004 -> 0.001)"
        in found
    )


def test_a_damaged_checkpoint_is_refused(workplace: Workplace) -> None:
    source = checkpoint(workplace)
    path = next(source.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert refused(workplace, source, "train/small") == f"{path} is missing or damaged"
    (source / "complete.json").write_text("{")
    assert "complete.json is missing or damaged" in refused(workplace, source, "train/small")


def test_a_checkpoint_that_is_not_ahead_of_the_run_is_refused(workplace: Workplace) -> None:
    source = checkpoint(workplace)
    adopt(workplace.graph, source, "train/small", "from the cluster")
    assert "has a checkpoint of step 12, and " in refused(workplace, source, "train/small")
    for older in source.parent.glob("step-000000008"):
        assert f"and {older} is of step 8" in refused(workplace, older, "train/small")


def test_a_checkpoint_for_a_finished_stage_is_refused(workplace: Workplace) -> None:
    source = workplace.results / "train/small/final"
    assert refused(workplace, source, "train/small") == (
        "train/small is finished as the settings want it; there is nothing to go on with"
    )
    assert "is a part of the artifact in" in refused(workplace, source, "train/small", move=True)


def test_a_checkpoint_for_a_run_that_is_being_trained_is_refused(workplace: Workplace) -> None:
    source = checkpoint(workplace)
    building = building_folder(workplace.results / "train/small", workplace.graph.planned("train/small").run)
    (building / "run").mkdir(parents=True)
    lease = {"host": "elsewhere", "pid": 1, "heartbeat": time.time(), "job": "7"}
    (building / "run/lease.json").write_text(json.dumps(lease))
    assert "process 1 on elsewhere, job 7 trains this run" in refused(workplace, source, "train/small")


def test_what_is_being_made_is_not_adopted(workplace: Workplace) -> None:
    source = elsewhere(workplace, BLOCK)
    with exclusive(workplace.results, BLOCK):
        assert refused(workplace, source, BLOCK) == (f"{BLOCK} is being made now; wait for that, or end it, then adopt")


def test_inputs_have_to_be_there_first(workplace: Workplace) -> None:
    source = elsewhere(workplace, "train/small")
    workplace.drop_domain("language_reference")
    found = refused(workplace, source, "train/small")
    assert "which is stale or missing itself; make, accept or adopt that first" in found
    assert "tokenizer" in found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raw/docstrings/0000", "is made by the step download, so it cannot be adopted; tokenizer, tokens/"),
        ("evaluate/small", "is made by the step evaluate, so it cannot be adopted"),
        ("train/large", "is not of this workflow, so it cannot be adopted"),
        ("../tokenizer", "is not of this workflow"),
    ],
)
def test_nothing_else_is_adopted(workplace: Workplace, tmp_path: Path, name: str, words: str) -> None:
    assert words in refused(workplace, tmp_path, name)


def test_a_reason_and_a_path_are_needed(workplace: Workplace, tmp_path: Path) -> None:
    assert refused(workplace, tmp_path, "tokenizer", why=" ").startswith("--reason is empty")
    missing = tmp_path / "missing"
    assert refused(workplace, missing, "tokenizer") == f"{missing} does not exist; correct the path"


def test_an_artifact_in_its_place_is_accepted_not_adopted(workplace: Workplace) -> None:
    for source in (workplace.results / "tokenizer", workplace.results / "tokenizer/tokenizer.json", workplace.results):
        assert "python -m pipeline accept tokenizer" in refused(workplace, source, "tokenizer")


def test_a_part_of_an_artifact_is_not_moved_away(workplace: Workplace) -> None:
    source = elsewhere(workplace, "tokenizer")
    assert "is a part of the artifact in" in refused(workplace, source / "tokenizer.json", "tokenizer", move=True)


def test_what_was_put_aside_comes_back(workplace: Workplace) -> None:
    aside = workplace.results / f"train/small.aside-{'a' * 12}"
    shutil.move(workplace.results / "train/small", aside)
    made_by_other_code(aside)
    adopt(workplace.graph, aside, "train/small", "the one before was better", move=True)
    require_adopted(workplace, "train/small", before="f" * 64)
    assert not aside.exists()


def test_where_no_links_are_to_be_had_files_are_copied(workplace: Workplace) -> None:
    """Memory is another file system."""
    source = elsewhere(workplace, BLOCK)
    other = Path(f"/dev/shm/adopt-{os.getpid()}")
    if not other.parent.is_dir():
        pytest.skip("no /dev/shm")
    shutil.move(source, other)
    try:
        adopt(workplace.graph, other, BLOCK, "from another disk", move=True)
        require_adopted(workplace, BLOCK, before=read_manifest(workplace.results / BLOCK / RECORD).fingerprint)
        assert not other.exists()
    finally:
        shutil.rmtree(other, ignore_errors=True)


def test_the_command_says_what_follows_or_why_not(workplace: Workplace, tmp_path: Path) -> None:
    """By the demo's configuration, whose texts are another size: its tokenizer's inputs have to be made first."""
    own = tmp_path / "own.json"
    shutil.copy(workplace.results / "tokenizer/tokenizer.json", own)
    arguments = ["adopt", str(own), "--as", "tokenizer", "--reason", "ours", "--config", f"results={workplace.results}"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: tokenizer is made of raw/python_code/0000, ")
    config = tmp_path / "own.yaml"
    plain = {
        "corpus": "embedded",
        "domains": {"licences": {"weight": 1}},
        "stages": ["demo"],
        "tokenizer": {"path": str(own)},
        "results": str(tmp_path / "new"),
    }
    config.write_text(json.dumps(plain))  # which is YAML too
    arguments = ["adopt", str(own), "--as", "tokenizer", "--reason", "ours", "--configfile", str(config)]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tokenizer is adopted as ")
