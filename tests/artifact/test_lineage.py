import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artifact.files import ArtifactError
from pipeline.artifact.lineage import Ancestor, trace
from pipeline.artifact.manifest import MANIFEST, Manifest

Make = Callable[..., Manifest]


@pytest.fixture
def results(make: Make, tmp_path: Path) -> Path:
    """raw/1 and raw/2, each of a file of the user's of one name; tokenizer of both; tokens of raw/1 and tokenizer."""
    results = tmp_path
    for number in ("1", "2"):
        (tmp_path / "corpus" / number).mkdir(parents=True)
        own = tmp_path / "corpus" / number / "part.json.gz"
        own.write_text(f"text {number}")
        make(f"raw/{number}", {"data": number}, files=(own,))
    make("tokenizer", {"vocabulary": "v"}, ("raw/1", "raw/2"))
    make("tokens/1", {"ids": "i"}, ("raw/1", "tokenizer"))
    return results


def lines(folder: Path) -> list[tuple[int, str]]:
    return [(ancestor.depth, ancestor.source.artifact) for ancestor in trace(folder)]


def one(folder: Path, name: str) -> Ancestor:
    (found,) = (ancestor for ancestor in trace(folder) if ancestor.source.artifact == name)
    return found


def test_the_chain_leads_to_the_users_own_files(results: Path) -> None:
    assert lines(results / "tokens/1") == [
        (1, "raw/1"),
        (2, "0:part.json.gz"),
        (1, "tokenizer"),
        (2, "raw/2"),
        (3, "0:part.json.gz"),
    ]
    assert not any(ancestor.missing or ancestor.changed for ancestor in trace(results / "tokens/1"))


def test_an_artifact_that_is_gone_is_missing(results: Path) -> None:
    shutil.rmtree(results / "raw/2")
    assert one(results / "tokens/1", "raw/2").missing
    assert not one(results / "tokens/1", "raw/1").missing


def test_an_artifact_that_was_made_anew_with_other_bytes_has_changed(make: Make, results: Path) -> None:
    make("raw/2", {"data": "other"})
    assert one(results / "tokens/1", "raw/2").changed
    assert not one(results / "tokens/1", "raw/1").changed


def test_two_versions_of_one_artifact_are_both_told(make: Make, results: Path) -> None:
    make("raw/1", {"data": "other"})
    make("tokens/2", {"ids": "j"}, ("raw/1", "tokenizer"))
    states = [a.changed for a in trace(results / "tokens/2") if a.source.artifact == "raw/1"]
    assert states == [False, True]  # used itself as it is now; used by the tokenizer as it was


def test_moved_results_and_results_behind_links_can_be_traced(results: Path, tmp_path_factory) -> None:
    moved = tmp_path_factory.mktemp("moved") / "results"
    shutil.copytree(results, moved)
    before = lines(results / "tokens/1")
    assert lines(moved / "tokens/1") == before
    (moved / "tokens").rename(moved.parent / "disk")
    (moved / "tokens").symlink_to(moved.parent / "disk")
    assert lines(moved / "tokens/1") == before
    assert lines(moved / "raw" / ".." / "tokens" / "1") == before


def test_an_artifact_under_another_name_is_refused(results: Path) -> None:
    (results / "tokens/1").rename(results / "tokens/one")
    with pytest.raises(ArtifactError, match="was made as 'tokens/1'; put it back"):
        list(trace(results / "tokens/one"))


@pytest.mark.parametrize("artifact", ["../../secrets", "/etc"])
def test_an_input_outside_the_results_is_not_read(results: Path, artifact: str) -> None:
    path = results / "tokens/1" / MANIFEST
    plain = json.loads(path.read_text())
    plain["inputs"][0]["artifact"] = artifact
    path.write_text(json.dumps(plain))
    with pytest.raises(ArtifactError, match=r"tokens/1: its input .* leaves the results folder"):
        list(trace(results / "tokens/1"))


def test_a_broken_manifest_on_the_way_is_an_error(results: Path) -> None:
    (results / "raw/2" / MANIFEST).write_text("{")
    with pytest.raises(ArtifactError, match=r"raw/2/manifest\.json is no JSON"):
        list(trace(results / "tokens/1"))
