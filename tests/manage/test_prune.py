"""What nothing refers to is listed, and exactly that is deleted."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.code import ROOT
from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import RECORD, read_manifest, write_manifest
from pipeline.artifact.publish import aside_folder, building_folder
from pipeline.manage.leftovers import Leftover, find_leftovers
from pipeline.manage.prune import delete
from pipeline.train.checkpoint import Position, save_checkpoint
from pipeline.train.checkpoints import checkpoints

OLD_RUN = "0" * 12


def found(workplace: Any) -> dict[str, str]:
    """The leftovers' paths and kinds."""
    leftovers = find_leftovers(workplace.graph).leftovers
    return {str(one.path.relative_to(workplace.results)): one.kind for one in leftovers}


def remove(workplace: Any, runs_too: bool = False) -> dict[str, str]:
    """Delete all leftovers. Returns why each that stayed did."""
    leftovers = find_leftovers(workplace.graph).leftovers
    fates = delete(workplace.results, leftovers, runs_too)
    return {str(fate.leftover.path.relative_to(workplace.results)): fate.kept_for for fate in fates if fate.kept_for}


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if ".locks" not in path.parts}


def set_aside(workplace: Any, name: str, seconds: float = 1.0) -> Path:
    """Put a copy of an artifact aside, as if another had taken its place."""
    folder = workplace.results / name
    record = read_manifest(folder / RECORD)
    aside = folder.with_name(f"{folder.name}.aside-{'a' * 12}")
    shutil.copytree(folder, aside)
    (aside / "manifest.json").unlink()
    first, *others = record.files
    old = record.model_copy(
        update={
            "fingerprint": "a" * 64,
            "counts": {**record.counts, "seconds": seconds},
            "files": (first.model_copy(update={"sha256": "b" * 64}), *others),  # other content than what is in use
        }
    )
    write_manifest(aside, RECORD, old)
    return aside


def unfinished(workplace: Any, run: str = OLD_RUN, seconds: float = 1.0) -> Path:
    """A run folder of a run that never ended."""
    folder = building_folder(workplace.results / "train/small", run)
    (folder / "run").mkdir(parents=True)
    (folder / "run/metrics.jsonl").write_text(json.dumps({"step": 1, "seconds": seconds}) + '\n{"step": 2, "sec')
    return folder


def test_a_workflow_as_it_was_made_has_no_leftovers(workplace: Any) -> None:
    assert find_leftovers(workplace.graph).leftovers == ()
    assert find_leftovers(workplace.graph).notes == ()


def test_without_results_there_are_none(workplace: Any, tmp_path: Path) -> None:
    shutil.rmtree(workplace.results)
    assert found(workplace) == {}


def test_what_was_replaced_is_listed_and_deleted(workplace: Any) -> None:
    before = files(workplace.results)
    aside = set_aside(workplace, "train/small")
    assert found(workplace) == {str(aside.relative_to(workplace.results)): "aside"}
    assert remove(workplace) == {}
    assert files(workplace.results) == before


def test_sizes_and_ages_are_those_of_the_files(workplace: Any) -> None:
    aside = set_aside(workplace, "tokenizer")
    hour_ago = time.time() - 3600
    for path in (*aside.rglob("*"), aside):
        os.utime(path, (hour_ago, hour_ago))
    (one,) = find_leftovers(workplace.graph).leftovers
    assert one.size.bytes == sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
    assert one.size.modified == pytest.approx(hour_ago)
    assert len(find_leftovers(workplace.graph, older_than_seconds=3000).leftovers) == 1
    assert len(find_leftovers(workplace.graph, older_than_seconds=4000).leftovers) == 0


def test_a_replaced_artifact_that_another_was_made_of_stays(workplace: Any) -> None:
    """The trained stage is of a tokenizer that is no longer in place."""
    aside = set_aside(workplace, "tokenizer")
    record = read_manifest(aside / RECORD)
    folder = workplace.results / "evaluate/small"
    evaluation = read_manifest(folder / RECORD)
    others = tuple(source for source in evaluation.inputs if source.role != "tokenizer")
    (source,) = (source for source in evaluation.inputs if source.role == "tokenizer")
    used = source.model_copy(update={"content": record.content})
    write_manifest(folder, RECORD, evaluation.model_copy(update={"inputs": (*others, used)}))
    assert found(workplace) == {}


def test_an_unfinished_run_of_other_settings_goes_while_that_of_the_present_ones_stays(workplace: Any) -> None:
    workplace.lose("train/small")
    planned = workplace.graph.planned("train/small")
    current = unfinished(workplace, planned.run)
    assert found(workplace) == {}
    other = unfinished(workplace)
    assert found(workplace) == {f"train/{other.name}": "unfinished"}
    assert remove(workplace) == {}
    assert current.exists()
    assert not other.exists()


def test_an_unfinished_run_beside_the_finished_one_goes(workplace: Any) -> None:
    planned = workplace.graph.planned("train/small")
    current = unfinished(workplace, planned.run)
    assert found(workplace) == {f"train/{current.name}": "unfinished"}


def test_a_replaced_run_that_the_settings_ask_for_again_stays(workplace: Any) -> None:
    planned = workplace.graph.planned("train/small")
    folder = workplace.results / "train/small"
    folder.rename(aside_folder(folder, planned.fingerprint))
    assert found(workplace) == {}


def test_runs_stay_while_it_is_not_known_which_will_go_on(workplace: Any) -> None:
    other = unfinished(workplace)
    workplace.lose("train/small")
    workplace.drop_domain("language_reference")  # the tokenizer has to be made again first
    search = find_leftovers(workplace.graph)
    assert search.leftovers == ()
    assert search.notes == (
        f"train/{other.name} is left out: its step may take it up, which shows once its inputs are made",
    )


def test_a_run_that_is_being_trained_stays(workplace: Any) -> None:
    workplace.lose("train/small")
    process = workplace.freeze_training(lambda folder: (folder / "run/lease.json").exists())
    workplace.change_training(lr=0.001)  # so that it is no longer what would go on
    try:
        search = find_leftovers(workplace.graph)
        assert search.leftovers == ()
        assert any(f"process {process.pid} on " in note and "is at work on it" in note for note in search.notes)
    finally:
        process.kill()
        process.communicate()
    assert list(found(workplace).values()) == ["unfinished"]


def test_a_run_whose_lease_is_renewed_elsewhere_stays(workplace: Any) -> None:
    folder = unfinished(workplace)
    lease = {"host": "elsewhere", "pid": 1, "heartbeat": time.time(), "job": "7"}
    (folder / "run/lease.json").write_text(json.dumps(lease))
    assert found(workplace) == {}
    (folder / "run/lease.json").write_text(json.dumps({**lease, "heartbeat": time.time() - 3600}))
    assert found(workplace) == {f"train/{folder.name}": "unfinished"}
    (folder / "run/lease.json").write_text("{")
    assert found(workplace) == {f"train/{folder.name}": "unfinished"}


def test_a_run_that_begins_after_the_listing_is_not_deleted(workplace: Any) -> None:
    folder = unfinished(workplace)
    leftovers = find_leftovers(workplace.graph).leftovers
    lease = {"host": "elsewhere", "pid": 1, "heartbeat": time.time(), "job": "7"}
    (folder / "run/lease.json").write_text(json.dumps(lease))
    (fate,) = delete(workplace.results, leftovers, runs_too=True)
    assert fate.kept_for == "process 1 on elsewhere, job 7 is at work on it"
    assert folder.exists()


def test_artifacts_that_are_no_longer_made_go(workplace: Any) -> None:
    """Only those that nothing was made of: the others are the lineage of what is still there."""
    workplace.drop_domain("language_reference")
    assert found(workplace) == {}
    workplace.lose(*(name for name in workplace.graph.nodes if name.split("/")[0] not in ("raw", "tokens")))
    gone = {"raw/language_reference/0000", "tokens/language_reference/0000"}
    assert found(workplace) == dict.fromkeys(gone, "not made here")
    assert remove(workplace) == {}
    assert {name for name in gone if (workplace.results / name).exists()} == set()
    assert workplace.graph.record("tokens/docstrings/0000") is not None


def test_what_an_interrupted_deletion_left_is_found_again(workplace: Any) -> None:
    workplace.drop_domain("language_reference")
    workplace.lose(*(name for name in workplace.graph.nodes if name.split("/")[0] not in ("raw", "tokens")))
    folder = workplace.results / "tokens/language_reference/0000"
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder / "tokens.zarr")
    assert "tokens/language_reference/0000" in found(workplace)


def test_checkpoints_on_the_way_of_a_finished_run_go(workplace: Any) -> None:
    import torch

    run = workplace.results / "train/small/run"
    save_checkpoint(run / "step-000000004", {"one": torch.zeros(4)}, Position(step=4), {})
    kept = files(workplace.results / "train/small") - files(run / "step-000000004") - {run / "step-000000004"}
    assert found(workplace) == {"train/small/run/step-000000004": "checkpoint"}
    assert remove(workplace) == {}
    assert files(workplace.results / "train/small") == kept
    assert checkpoints(run) == []
    assert not workplace.graph.state("train/small").runs


def test_checkpoints_of_a_damaged_run_stay(workplace: Any) -> None:
    import torch

    run = workplace.results / "train/small/run"
    save_checkpoint(run / "step-000000004", {"one": torch.zeros(4)}, Position(step=4), {})
    (workplace.results / "train/small/model.safetensors").unlink()
    assert found(workplace) == {}


def test_what_killed_writes_left_goes(workplace: Any) -> None:
    left = [
        workplace.results / "tokenizer/.manifest.json.123.tmp",
        workplace.results / "train/small/run/.step-000000004.partial",
    ]
    left[0].write_text("{")
    left[1].mkdir()
    (left[1] / ".complete.json.123.tmp").write_text("{")
    assert found(workplace) == {str(path.relative_to(workplace.results)): "temporary" for path in left}
    assert remove(workplace) == {}
    assert [path for path in left if path.exists()] == []


def test_logs_benchmarks_and_strangers_stay(workplace: Any) -> None:
    for name in ("logs/train/small.aside-" + "a" * 12, "benchmarks/x", "my.aside-notes", "notes/deep/er/still"):
        (workplace.results / name).mkdir(parents=True)
        (workplace.results / name / "file").write_text("mine")
    assert found(workplace) == {}


def test_links_are_not_followed(workplace: Any, tmp_path: Path) -> None:
    """Neither where artifacts may lie nor within what is deleted."""
    elsewhere = tmp_path / "elsewhere"
    shutil.move(workplace.results / "raw", elsewhere)
    (workplace.results / "raw").symlink_to(elsewhere)
    (elsewhere / f"python_code/0000.aside-{'a' * 12}").mkdir()
    aside = set_aside(workplace, "tokenizer")
    (aside / "link").symlink_to(elsewhere)
    before = files(elsewhere)
    search = find_leftovers(workplace.graph)
    assert [one.path for one in search.leftovers] == [aside]
    assert search.notes == ("raw is a link and not followed",)
    assert search.leftovers[0].size.bytes < sum(path.stat().st_size for path in before if path.is_file())
    assert remove(workplace) == {}
    assert not aside.exists()
    assert files(elsewhere) == before


@pytest.mark.parametrize("make", [set_aside, unfinished])
def test_a_run_that_took_over_an_hour_needs_another_word(workplace: Any, make: Any) -> None:
    arguments = ["train/small"] if make is set_aside else [OLD_RUN]
    folder = make(workplace, *arguments, seconds=4000.0)
    shown = f"train/{folder.name}"
    assert list(found(workplace)) == [shown]
    assert remove(workplace) == {shown: "it took over an hour of training: add --runs-too"}
    assert folder.exists()
    assert remove(workplace, runs_too=True) == {}
    assert not folder.exists()


def test_what_is_held_is_left_out_and_skipped(workplace: Any) -> None:
    aside = set_aside(workplace, "tokenizer")
    leftovers = find_leftovers(workplace.graph).leftovers
    hold = (
        "import sys, time; from pathlib import Path; from pipeline.artifact.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'tokenizer'):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(workplace.results)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        search = find_leftovers(workplace.graph)
        assert search.leftovers == ()
        (note,) = search.notes
        assert note.startswith(f"tokenizer is left out: process {process.pid} on ")
        (fate,) = delete(workplace.results, leftovers, runs_too=False)
        assert fate.kept_for == "a process is at work on tokenizer"
        assert aside.exists()
    finally:
        process.kill()
        process.communicate()
    assert [fate.kept_for for fate in delete(workplace.results, leftovers, runs_too=False)] == [""]


def test_what_changed_or_went_after_the_listing_is_not_deleted(workplace: Any) -> None:
    asides = [set_aside(workplace, name) for name in ("tokenizer", "ladder")]
    leftovers = find_leftovers(workplace.graph).leftovers
    (asides[0] / "more").write_text("new")
    shutil.rmtree(asides[1])
    fates = {fate.leftover.artifact: fate.kept_for for fate in delete(workplace.results, leftovers, runs_too=False)}
    assert fates == {"tokenizer": "it changed since it was listed", "ladder": "it is gone already"}
    assert asides[0].exists()


def test_asking_who_holds_a_lock_leaves_it_as_it_was(workplace: Any) -> None:
    from pipeline.manage.holder import lock_holder

    assert lock_holder(workplace.results, "never/made") is None
    assert not (workplace.results / ".locks/never.made.lock").exists()
    with exclusive(workplace.results, "tokenizer"):
        assert lock_holder(workplace.results, "tokenizer") == f"{os.getpid()} on {os.uname().nodename}"
        assert lock_holder(workplace.results, "tokenizer") == f"{os.getpid()} on {os.uname().nodename}"
    assert lock_holder(workplace.results, "tokenizer") is None
    with exclusive(workplace.results, "tokenizer", wait=False):
        pass


def test_a_leftover_is_expensive_from_an_hour_on(workplace: Any) -> None:
    aside = set_aside(workplace, "train/small", seconds=3600.0)
    (one,) = find_leftovers(workplace.graph).leftovers
    assert isinstance(one, Leftover)
    assert one.path == aside
    assert not one.is_expensive


def prune(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pipeline", "prune", "--config", f"results={folder}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_lists_and_deletes(workplace: Any) -> None:
    """By the demo's configuration, which makes none of the small project's stage."""
    unfinished(workplace, seconds=4000.0)
    listed = prune(workplace.results)
    assert max(len(line) for line in listed.splitlines() if str(workplace.results) not in line) <= 80
    assert f"train/small.building-{OLD_RUN} *" in listed
    assert "another that shares the" in listed
    assert f"  python -m pipeline prune --config results={workplace.results} --delete\n" in listed
    assert "add --runs-too to delete them" in listed
    assert (workplace.results / "export/small").exists()
    data = json.loads(prune(workplace.results, "--json"))
    assert data["bytes"] == sum(one["size"]["bytes"] for one in data["leftovers"])
    assert data["deleted"] == []
    told = prune(workplace.results, "--delete")
    assert f"in {len(data['leftovers']) - 1} files and folders." in told
    assert f"train/small.building-{OLD_RUN} is not deleted: it took over an hour" in told
    assert (workplace.results / "raw/docstrings/0000").exists(), "a domain that the demo has too"
    assert [one for one in data["leftovers"] if Path(one["path"]).exists() != one["is_expensive"]] == []
    assert prune(workplace.results, "--older-than", "1") == f"Nothing to delete in {workplace.results}.\n"
