import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact import state
from pipeline.artifact.fingerprint import Identity
from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import MANIFEST, RECORD, Manifest, read_manifest
from pipeline.artifact.state import planned_identity, repairs_wanted, restore_manifest
from pipeline.artifact.verify import recorded

Make = Callable[..., Manifest]
TEXTS = {"y": "two"}


@pytest.fixture
def results(make: Make, tmp_path: Path) -> Path:
    make("a", {"x": "one"})
    (tmp_path / "own.txt").write_text("mine")
    make("b", TEXTS, ("a",), files=(tmp_path / "own.txt",))
    return tmp_path


def planned(results: Path, **changes: Any) -> Identity | None:
    asked: dict[str, Any] = {
        "step": "example",
        "module": "pipeline.artifact.canonical",
        "settings": {"texts": TEXTS},
        "inputs": [("input", results / "a")],
        "files": [results / "own.txt"],
    }
    return planned_identity(**{**asked, **changes})


def settled(results: Path, **changes: Any) -> bool:
    """Whether `b` is what would be made now."""
    record, now = recorded(results / "b"), planned(results, **changes)
    return record is not None and now is not None and record.fingerprint == now.fingerprint


def test_what_was_just_made_is_settled(results: Path) -> None:
    assert settled(results)


def test_time_stamps_do_not_matter(results: Path) -> None:
    for path in results.rglob("*"):
        os.utime(path, (1, 1) if path.name in (MANIFEST, "own.txt") else None)
    assert settled(results)


def test_copied_and_moved_results_stay_settled(results: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = tmp_path_factory.mktemp("copy") / "results"
    shutil.copytree(results, copy)
    assert settled(copy)
    moved = copy.rename(copy.with_name("moved"))
    assert settled(moved)


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"texts": {"y": "three"}}},
        {"step": "another"},
        {"module": "pipeline.artifact.files"},
        {"inputs": []},
        {"inputs": [("other_role", "a")]},
        {"files": []},
    ],
)
def test_other_settings_step_code_or_inputs_unsettle(results: Path, changes: dict[str, Any]) -> None:
    if "inputs" in changes:
        changes = {"inputs": [(role, results / name) for role, name in changes["inputs"]]}
    assert not settled(results, **changes)


def test_an_input_of_other_content_unsettles_and_one_of_equal_content_does_not(make: Make, results: Path) -> None:
    make("a", {"x": "one"}, settings={"texts": {}, "another": "way"})
    assert settled(results)
    make("a", {"x": "other"})
    assert not settled(results)


def test_an_input_that_is_gone_unsettles(results: Path) -> None:
    shutil.rmtree(results / "a")
    assert not settled(results)


def test_an_own_file_of_equal_size_and_time_but_other_bytes_unsettles(results: Path) -> None:
    times = (results / "own.txt").stat()
    (results / "own.txt").write_text("ours")
    os.utime(results / "own.txt", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not settled(results)


def test_an_own_file_may_move_but_not_vanish(results: Path) -> None:
    (results / "elsewhere").mkdir()
    moved = (results / "own.txt").rename(results / "elsewhere" / "own.txt")
    assert settled(results, files=[moved])
    assert not settled(results)


def test_large_own_files_are_left_to_the_step(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SMALL_BYTES", len("mine"))
    assert settled(results)
    monkeypatch.setattr(state, "SMALL_BYTES", len("mine") - 1)
    assert not settled(results)


def test_a_broken_record_unsettles(results: Path) -> None:
    (results / "b" / RECORD).write_text("{")
    assert not settled(results)


def test_a_lost_file_is_wanted_back_until_it_was_repaired(make: Make, results: Path) -> None:
    assert repairs_wanted(results / "b", planned(results)) == ()
    (results / "b" / "y").unlink()
    wanted = repairs_wanted(results / "b", planned(results))
    assert wanted == ("y is missing",)
    make("b", TEXTS, ("a",), files=(results / "own.txt",), repairs=wanted)
    assert (
        repairs_wanted(results / "b", planned(results)) == wanted
    )  # the rule's parameter stays as it was when the rule ran
    (results / "b" / "y").write_text("t")
    assert repairs_wanted(results / "b", planned(results)) == (*wanted, "y has 1 bytes, not 3")


def test_another_origin_is_a_reason_until_it_was_made_again(make: Make, results: Path) -> None:
    """Snakemake may miss it: an own file of equal size and time, metadata that are gone."""
    (results / "own.txt").write_text("ours")
    (reason,) = repairs_wanted(results / "b", planned(results))
    assert "other inputs" in reason
    make("b", TEXTS, ("a",), files=(results / "own.txt",), repairs=(reason,))
    assert repairs_wanted(results / "b", planned(results)) == (reason,)
    (results / "own.txt").write_text("hers")
    assert repairs_wanted(results / "b", planned(results)) != (reason,), "each origin is a reason of its own"


def test_a_manifest_is_not_restored_while_a_process_is_at_work(results: Path) -> None:
    (results / "b" / MANIFEST).unlink()
    with exclusive(results, "b"):
        restore_manifest(results, "b")
        assert not (results / "b" / MANIFEST).exists()
    restore_manifest(results, "b")
    assert (results / "b" / MANIFEST).exists()


def test_nothing_is_wanted_of_what_was_never_made(tmp_path: Path) -> None:
    assert repairs_wanted(tmp_path / "nothing", None) == ()
    restore_manifest(tmp_path, "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_lost_manifest_comes_back_from_the_record(results: Path) -> None:
    before = (results / "b" / MANIFEST).read_bytes()
    (results / "b" / MANIFEST).unlink()
    restore_manifest(results, "b")
    assert (results / "b" / MANIFEST).read_bytes() == before


def test_a_manifest_that_is_there_is_not_touched(results: Path) -> None:
    plain = json.loads((results / "b" / MANIFEST).read_text())
    (results / "b" / MANIFEST).write_text(json.dumps({**plain, "repairs": ["mine"]}))
    restore_manifest(results, "b")
    assert read_manifest(results / "b" / MANIFEST).repairs == ("mine",)
