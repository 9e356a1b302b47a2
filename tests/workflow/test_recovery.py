"""What is lost comes back, and nothing else is touched; what is killed goes on."""

import gzip
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workspace import CONFIG, STAGE, Workspace, finished_rules, kill, wait_for

from pipeline.artifact.manifest import MANIFEST, RECORD, read_manifest


@pytest.fixture
def copied(finished: Workspace, tmp_path: Path) -> Workspace:
    return finished.copy(tmp_path / "project")


def test_every_lost_manifest_is_declared_again_without_a_job(copied: Workspace) -> None:
    manifests = {name: (copied.folder_of(name) / MANIFEST).read_bytes() for name in copied.artifacts()}
    before = copied.inodes()
    for name, content in manifests.items():
        (copied.folder_of(name) / MANIFEST).unlink()
        assert "Nothing to be done" in copied.run("-n")
        assert (copied.folder_of(name) / MANIFEST).read_bytes() == content
    assert finished_rules(copied.run()) == []
    assert copied.inodes() == before


def one_shard(workspace: Workspace) -> Path:
    return sorted(workspace.folder_of("shards/small/0000").glob("*.zarr/c/0/0"))[1]


def final_checkpoint(workspace: Workspace) -> Path:
    return next(workspace.folder_of("train/small").glob("final/*.safetensors"))


def final_weights(workspace: Workspace) -> Path:
    return workspace.folder_of("train/small") / "model.safetensors"


def raw_file(workspace: Workspace) -> Path:
    return next(workspace.folder_of("raw/docstrings/0000").rglob("*.json.gz"))


@pytest.mark.parametrize(
    ("lost", "rule"),
    [(one_shard, "pack"), (final_checkpoint, "train"), (final_weights, "train"), (raw_file, "download")],
)
def test_a_lost_file_comes_back_and_nothing_else_is_touched(
    copied: Workspace, lost: Callable[[Workspace], Path], rule: str
) -> None:
    contents, inodes = copied.contents(), copied.inodes()
    path = lost(copied)
    path.unlink()
    dry = copied.run("-n")
    assert "is missing" in dry, "the reason is named"
    output = copied.run()
    assert finished_rules(output) == [rule]
    assert copied.contents() == contents
    after = copied.inodes()
    made_again = {found for found in inodes if after[found] != inodes[found]}
    assert path in made_again
    if rule == "pack":
        assert made_again <= set(path.parents[2].rglob("*")), "only the lost shard, not its neighbours"
    assert all(found.is_relative_to(copied.folder_of(_artifact_of(copied, path))) for found in made_again)
    assert "Nothing to be done" in copied.run()


def _artifact_of(workspace: Workspace, path: Path) -> str:
    return next(name for name in workspace.artifacts() if path.is_relative_to(workspace.folder_of(name)))


def test_a_lost_file_and_a_changed_setting_below_it_are_both_seen_at_once(copied: Workspace) -> None:
    one_shard(copied).unlink()
    stage = {**STAGE, "evaluation": {**STAGE["evaluation"], "rows": 4}}
    copied.write(CONFIG, stage)
    output = copied.run()
    assert {"pack", "evaluate", "export", "report", "ladder"} <= set(finished_rules(output))
    assert read_manifest(copied.folder_of("evaluate/small") / MANIFEST).settings["rows"] == 4
    assert "Nothing to be done" in copied.run()


def test_a_deleted_artifact_comes_back(copied: Workspace) -> None:
    contents = without_report(copied.contents())
    shutil.rmtree(copied.folder_of("mixture/small"))
    output = copied.run()
    assert {"download", "tokenizer", "tokenize"}.isdisjoint(finished_rules(output))
    assert without_report(copied.contents()) == contents


def test_an_execution_setting_leaves_nothing_stale(copied: Workspace) -> None:
    training = {**STAGE["training"], "micro_batch_size": 8, "checkpoints": {"interval_steps": 5, "keep_last": 1}}
    copied.write({**CONFIG, "files_per_block": 7}, {**STAGE, "training": training})
    assert "Nothing to be done" in copied.run("-n")


def test_touched_files_leave_nothing_stale(copied: Workspace) -> None:
    for path in sorted(copied.results.rglob(MANIFEST)):
        path.touch()
    assert "Nothing to be done" in copied.run("-n")


def test_a_change_of_training_reruns_training_and_what_follows(copied: Workspace) -> None:
    copied.write(CONFIG, {**STAGE, "training": {**STAGE["training"], "lr": 0.002}})
    dry = copied.run("-n")
    for rule in ("train", "evaluate", "export", "ladder", "report"):
        assert f"\n{rule} " in dry
    for rule in ("download", "tokenizer", "tokenize", "mixture", "pack", "validation"):
        assert f"\n{rule} " not in dry


@pytest.mark.parametrize("moment", ["run/checkpoints-step-4", "run/metrics"])
def test_training_killed_with_its_orchestrator_goes_on_and_ends_with_the_same_bytes(
    finished: Workspace, tmp_path: Path, moment: str
) -> None:
    workspace = finished.copy(tmp_path / "project")
    shutil.rmtree(workspace.folder_of("train/small"))
    pattern = {
        "run/checkpoints-step-4": "train/small.building-*/run/step-*4/complete.json",
        "run/metrics": "train/small.building-*/run/metrics.jsonl",
    }[moment]
    process = workspace.start()
    wait_for(pattern, workspace.results, process)
    kill(process)
    assert not (workspace.folder_of("train/small") / MANIFEST).exists()
    workspace.run()
    assert without_report(workspace.contents()) == without_report(finished.contents())


def test_a_killed_trainer_alone_fails_the_run_and_the_same_command_continues(
    finished: Workspace, tmp_path: Path
) -> None:
    workspace = finished.copy(tmp_path / "project")
    shutil.rmtree(workspace.folder_of("train/small"))
    process = workspace.start()
    checkpoint = wait_for("train/small.building-*/run/step-*4/complete.json", workspace.results, process)
    lease = json.loads((checkpoint.parents[1] / "lease.json").read_text())
    os.kill(lease["pid"], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0, output
    workspace.run()
    assert without_report(workspace.contents()) == without_report(finished.contents())


def without_report(contents: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The report tells what each step cost, which differs from run to run."""
    return {name: files for name, files in contents.items() if not name.startswith("report/")}


@pytest.mark.parametrize(
    ("step", "artifact"),
    [("tokenize", "tokens/python_code/0000"), ("pack", "shards/small/0000"), ("export", "export/small")],
)
def test_a_step_killed_in_the_middle_leaves_nothing_that_a_later_step_accepts(
    finished: Workspace, tmp_path: Path, step: str, artifact: str
) -> None:
    """Kill as soon as the step has begun to write, and again later and later, until it gets through."""
    workspace = finished.copy(tmp_path / "project")
    shutil.rmtree(workspace.folder_of(artifact))
    kills = 0
    for attempt in range(8):
        process = workspace.start("--until", step)
        try:
            wait_for(f"{artifact}.building-*", workspace.results, process)
        except AssertionError:
            break  # it was faster than the look for it
        time.sleep(0.02 * attempt)
        kill(process)
        kills += 1
        folder = workspace.folder_of(artifact)
        if (folder / RECORD).exists():
            break
        assert not (folder / MANIFEST).exists()
    assert kills
    workspace.run()
    assert without_report(workspace.contents()) == without_report(finished.contents())
    leftovers = [path.name for path in workspace.folder_of(artifact).parent.iterdir() if "building" in path.name]
    assert leftovers == []


def test_a_local_corpus_is_watched_by_content_wherever_it_lies(finished: Workspace, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for domain in CONFIG["domains"]:
        shutil.copytree(finished.folder_of(f"raw/{domain}/0000/files"), corpus / domain)

    def config(folder: Path) -> dict[str, Any]:
        domains = {
            name: {**domain, "paths": [str(folder / name / "*.json.gz")]} for name, domain in CONFIG["domains"].items()
        }
        return {**CONFIG, "corpus": "local", "domains": domains}

    workspace = Workspace.create(tmp_path / "project", config(corpus))
    assert finished_rules(workspace.run("--until", "download")) == ["download"] * 3
    moved = corpus.rename(tmp_path / "elsewhere")
    workspace.write(config(moved), STAGE)
    assert finished_rules(workspace.run("--until", "download")) == []
    path = next((moved / "python_code").iterdir())
    status = path.stat()
    path.unlink()  # the artifact shares it by a hard link
    with gzip.open(path, "wt") as file:
        file.write(json.dumps({"id": "1", "text": "print('another text')"}) + "\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert finished_rules(workspace.run("--until", "download")) == ["download"]
