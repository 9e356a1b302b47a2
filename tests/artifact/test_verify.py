from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artifact.manifest import RECORD, Manifest
from pipeline.artifact.verify import damage, recorded

Make = Callable[..., Manifest]
EVERYTHING = 1 << 40


@pytest.fixture
def made(make: Make, tmp_path: Path) -> tuple[Path, Manifest]:
    manifest = make("a", {"one": "1" * 10, "below/two": "2" * 20, "three": "3" * 30})
    return tmp_path / "a", manifest


def test_whole_files_show_no_damage(made: tuple[Path, Manifest]) -> None:
    assert list(damage(*made, EVERYTHING)) == []


def test_missing_short_and_long_files_are_found_without_reading_them(made: tuple[Path, Manifest]) -> None:
    folder, manifest = made
    (folder / "one").unlink()
    (folder / "below/two").write_text("2")
    (folder / "three").write_text("3" * 31)
    assert sorted(damage(folder, manifest)) == [
        ("below/two", "has 1 bytes, not 20"),
        ("one", "is missing"),
        ("three", "has 31 bytes, not 30"),
    ]


def test_a_flipped_byte_is_found_by_its_sum(made: tuple[Path, Manifest]) -> None:
    folder, manifest = made
    (folder / "below/two").write_text("2" * 19 + "3")
    assert list(damage(folder, manifest)) == []
    assert list(damage(folder, manifest, EVERYTHING)) == [
        ("below/two", "has other bytes than when it was made (SHA-256)")
    ]


def test_only_so_many_bytes_are_read_as_allowed(made: tuple[Path, Manifest]) -> None:
    folder, manifest = made
    for name, text in (("one", "x" * 10), ("below/two", "x" * 20), ("three", "x" * 30)):
        (folder / name).write_text(text)
    assert len(list(damage(folder, manifest, 29))) == 1
    assert len(list(damage(folder, manifest, 30))) == 2  # 20 (below/two comes first) and 10
    assert len(list(damage(folder, manifest, 60))) == 3


def test_a_folder_in_a_files_place_is_damage(made: tuple[Path, Manifest]) -> None:
    folder, manifest = made
    (folder / "one").unlink()
    (folder / "one").mkdir()
    assert list(damage(folder, manifest)) == [("one", "is missing")]


def test_a_link_that_leads_out_is_damage_even_if_its_target_is_equal(
    made: tuple[Path, Manifest], tmp_path: Path
) -> None:
    folder, manifest = made
    (folder / "one").rename(tmp_path / "elsewhere")
    (folder / "one").symlink_to(tmp_path / "elsewhere")
    assert list(damage(folder, manifest, EVERYTHING)) == [("one", "is a link that leads out of its folder")]


def test_results_spread_over_disks_by_links_of_folders_are_whole(made: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = made
    (tmp_path / "disk").mkdir()
    folder.rename(tmp_path / "disk" / "a")
    folder.symlink_to(tmp_path / "disk" / "a")
    assert list(damage(folder, manifest, EVERYTHING)) == []
    assert recorded(folder) == manifest


def test_a_record_that_cannot_be_trusted_is_none(made: tuple[Path, Manifest]) -> None:
    folder, manifest = made
    assert recorded(folder) == manifest
    (folder / RECORD).write_text("{")
    assert recorded(folder) is None
    (folder / RECORD).unlink()
    assert recorded(folder) is None
