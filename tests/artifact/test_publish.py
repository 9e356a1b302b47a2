from pathlib import Path

import pytest

from pipeline.artifact.manifest import MANIFEST, RECORD
from pipeline.artifact.publish import (
    WORKING,
    aside_folder,
    building_folder,
    entries,
    listed_files,
    move_aside,
    swap_in,
)


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_manifests_and_working_data_are_no_part_of_an_artifact(tmp_path: Path) -> None:
    fill(tmp_path, "b", "a/c", MANIFEST, RECORD, f"{WORKING}/log", f"a/{MANIFEST}", f"a/{WORKING}")
    assert listed_files(tmp_path) == ["a/c", f"a/{MANIFEST}", f"a/{WORKING}", "b"]
    assert next((entry.path, entry.size) for entry in entries(tmp_path)) == ("a/c", 3)


@pytest.mark.parametrize("keep_replaced", [False, True])
def test_what_is_replaced_is_kept_only_if_asked(tmp_path: Path, keep_replaced: bool) -> None:
    folder = fill(tmp_path / "demo", "old")
    swap_in(fill(building_folder(folder, "f" * 64), "new"), folder, keep_replaced)
    assert listed_files(folder) == ["new"]
    kept = [path.name for path in tmp_path.iterdir() if path != folder]
    assert kept == (["demo.aside-unrecorded"] if keep_replaced else [])


def test_artifacts_with_a_longer_name_are_left_alone(tmp_path: Path) -> None:
    neighbour = fill(tmp_path / "demo-2.aside-abc", "x")
    swap_in(fill(building_folder(tmp_path / "demo", "f" * 64), "new"), tmp_path / "demo", keep_replaced=False)
    assert listed_files(neighbour) == ["x"]


def test_nothing_that_was_set_aside_is_overwritten(tmp_path: Path) -> None:
    for text in ("first", "second"):
        move_aside(fill(tmp_path / "demo", text))
    assert sorted(path.name for folder in tmp_path.iterdir() for path in folder.iterdir()) == ["first", "second"]
    assert aside_folder(tmp_path / "demo", "unrecorded").exists()


def test_an_empty_folder_makes_way_without_a_trace(tmp_path: Path) -> None:
    fill(tmp_path / "demo", MANIFEST)
    move_aside(tmp_path / "demo")
    move_aside(tmp_path / "never_there")
    assert list(tmp_path.iterdir()) == []
