import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artifact.fingerprint import Identity
from pipeline.artifact.lock import exclusive
from pipeline.artifact.manifest import FILE_ROLE, MANIFEST, RECORD, Manifest, read_manifest
from pipeline.artifact.publish import aside_folder, building_folder
from pipeline.artifact.state import files_known, files_stamp, find_made, restore_manifest

Make = Callable[..., Manifest]
TEXTS = {"y": "two"}


@pytest.fixture
def results(make: Make, tmp_path: Path) -> Path:
    make("a", {"x": "one"})
    (tmp_path / "own.txt").write_text("mine")
    make("b", TEXTS, ("a",), files=(tmp_path / "own.txt",))
    return tmp_path


def identity_of(record: Manifest) -> Identity:
    return Identity(record.step, record.settings, record.code_files, record.inputs)


def test_own_files_are_known_by_content_where_they_may_be_read(results: Path) -> None:
    record = read_manifest(results / "b" / MANIFEST)
    before = files_known([results / "own.txt"], record, read=True)
    assert before == tuple(source for source in record.inputs if source.role == FILE_ROLE)
    times = (results / "own.txt").stat()
    (results / "own.txt").write_text("ours")
    os.utime(results / "own.txt", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert files_known([results / "own.txt"], record, read=True) != before


def test_own_files_that_may_not_be_read_are_known_while_their_sizes_and_times_are_those_of_the_record(
    results: Path,
) -> None:
    record = read_manifest(results / "b" / MANIFEST)
    known = files_known([results / "own.txt"], record, read=False)
    assert known == files_known([results / "own.txt"], record, read=True)
    moved = shutil.copy2(results / "own.txt", results / "a" / "own.txt")
    assert files_known([Path(moved)], record, read=False) == known, "where they lie does not matter"
    (results / "own.txt").touch()
    assert files_known([results / "own.txt"], record, read=False) is None
    assert files_known([results / "own.txt"], None, read=False) is None


def test_own_files_that_are_gone_are_not_known(results: Path) -> None:
    record = read_manifest(results / "b" / MANIFEST)
    (results / "own.txt").unlink()
    for read in (True, False):
        assert files_known([results / "own.txt"], record, read) is None


def test_an_artifact_without_own_files_has_no_stamp(results: Path) -> None:
    assert files_stamp([]) == read_manifest(results / "a" / MANIFEST).stamp == ""
    assert files_known([], None, read=False) == ()


def test_touched_files_are_read_once_and_then_known_again(make: Make, results: Path) -> None:
    (results / "own.txt").touch()
    make("b", TEXTS, ("a",), files=(results / "own.txt",))
    assert [name for name, _ in make.runs].count("b") == 1, "nothing was made again"
    record = read_manifest(results / "b" / MANIFEST)
    assert files_known([results / "own.txt"], record, read=False) is not None


def test_made_data_are_found_in_place_sealed_or_set_aside(results: Path) -> None:
    record = read_manifest(results / "b" / RECORD)
    identity, folder = identity_of(record), results / "b"
    for place in (folder, building_folder(folder, identity.run), aside_folder(folder, identity.fingerprint)):
        if place != folder:
            folder.rename(place)
        found = find_made(folder, identity)
        assert found == (place, record)
        if place != folder:
            place.rename(folder)


def test_damaged_or_other_data_are_not_found(results: Path) -> None:
    identity = identity_of(read_manifest(results / "b" / RECORD))
    assert find_made(results / "a", identity) is None
    (results / "b" / "y").write_text("twO")
    assert find_made(results / "b", identity) is not None, "sizes alone do not show it"
    assert find_made(results / "b", identity, hashed_bytes=10) is None
    (results / "b" / "y").write_text("t")
    assert find_made(results / "b", identity) is None


def test_a_manifest_is_not_restored_while_a_process_is_at_work(results: Path) -> None:
    (results / "b" / MANIFEST).unlink()
    with exclusive(results, "b"):
        restore_manifest(results, "b")
        assert not (results / "b" / MANIFEST).exists()
    restore_manifest(results, "b")
    assert (results / "b" / MANIFEST).exists()


def test_nothing_is_restored_of_what_was_never_made(tmp_path: Path) -> None:
    restore_manifest(tmp_path, "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_lost_manifest_comes_back_from_the_record(results: Path) -> None:
    before = (results / "b" / MANIFEST).read_bytes()
    (results / "b" / MANIFEST).unlink()
    restore_manifest(results, "b")
    assert (results / "b" / MANIFEST).read_bytes() == before


def test_a_manifest_that_is_there_is_not_touched(results: Path) -> None:
    plain = json.loads((results / "b" / MANIFEST).read_text())
    (results / "b" / MANIFEST).write_text(json.dumps({**plain, "stamp": "mine"}))
    restore_manifest(results, "b")
    assert read_manifest(results / "b" / MANIFEST).stamp == "mine"
