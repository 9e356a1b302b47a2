import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifact.files import ArtifactError
from pipeline.artifact.manifest import Acceptance, Entry, Manifest, Source, read_manifest, write_manifest

ENTRIES = (Entry(path="a", size=1, sha256="aa"), Entry(path="b/c", size=2, sha256="bb"))


ACCEPTED = Acceptance(who="me@here", when="2026-01-01T00:00:00+00:00", why="a comment moved", before="e")


def manifest(**fields: Any) -> Manifest:
    plain: dict[str, Any] = {
        "step": "example",
        "name": "example/one",
        "fingerprint": "f",
        "settings": {"key": [1, "zwei", None]},
        "code": "c",
        "code_files": {"pipeline/__init__.py": "d"},
        "inputs": (Source(role="raw", artifact="raw/wiki/0000", content="e", fingerprint="g"),),
        "files": ENTRIES,
        "counts": {"documents": 3},
        "cost": {"seconds": 1.5},
        "versions": {"python": "3.11"},
    }
    return Manifest(**{**plain, **fields})


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, "manifest.json", manifest(stamp="s", accepted=(ACCEPTED,)))
    assert read_manifest(tmp_path / "manifest.json") == manifest(stamp="s", accepted=(ACCEPTED,))


@given(st.permutations(ENTRIES), st.floats(0, 1e6), st.text())
def test_content_is_that_of_the_files_whoever_made_them_and_when(files, seconds: float, host: str) -> None:
    other = manifest(files=tuple(files), cost={"seconds": seconds, "host": host}, name=host, fingerprint=host)
    assert other.content == manifest().content


@pytest.mark.parametrize("field", ["path", "size", "sha256"])
def test_content_changes_with_every_part_of_a_file(field: str) -> None:
    other = {"path": "z", "size": 9, "sha256": "zz"}[field]
    changed = ENTRIES[0].model_copy(update={field: other})
    assert manifest(files=(changed, ENTRIES[1])).content != manifest().content


@pytest.mark.parametrize("path", ["../b", "/etc/passwd", "a/../../b", "", ".", "a\\b", "a\0b"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    plain = manifest().model_dump(mode="json")
    plain["files"][1]["path"] = path
    (tmp_path / "manifest.json").write_text(json.dumps(plain))
    with pytest.raises(
        ArtifactError, match=r"manifest\.json: files\.1\.path: the path .* leaves its folder; delete it"
    ):
        read_manifest(tmp_path / "manifest.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ('{"format": 1,', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        ("[]", "has format None, this version reads 2"),
        ("{}", "has format None, this version reads 2"),
        ('{"format": 3}', "has format 3, this version reads 2"),
        ('{"format": 2}', "step: Field required"),
    ],
)
def test_a_broken_manifest_is_refused_with_its_path_and_the_way_out(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ArtifactError) as refused:
        read_manifest(path)
    assert str(refused.value).startswith(str(path))
    assert words in str(refused.value)
    assert str(refused.value).endswith("delete it and run its step again")


@pytest.mark.parametrize(("key", "value"), [("strange", 1), ("files", [{"path": "a", "size": -1, "sha256": "b"}])])
def test_an_unknown_key_and_an_impossible_size_are_refused(tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**manifest().model_dump(mode="json"), key: value}))
    with pytest.raises(ArtifactError, match=rf"manifest\.json: {key}"):
        read_manifest(path)


def test_a_missing_manifest_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "manifest.json", tmp_path / "file" / "manifest.json"):
        with pytest.raises(ArtifactError, match="does not exist; run the step that makes it"):
            read_manifest(path)


def test_a_manifest_that_cannot_be_read_now_is_no_missing_one(tmp_path: Path) -> None:
    """What may pass (a right that is missing, a file system that hangs) must not make a step run again."""
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(IsADirectoryError):
        read_manifest(tmp_path / "manifest.json")
