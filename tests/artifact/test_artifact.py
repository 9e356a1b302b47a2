from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError
from pipeline.artifact.manifest import MANIFEST, Manifest


@pytest.fixture
def artifact(make: Callable[..., Manifest], tmp_path: Path) -> Artifact:
    make("tokens/wiki", {"b.bin": "22", "a.bin": "1", "index/a.parquet": "333"})
    return Artifact.open(tmp_path / "tokens/wiki" / MANIFEST)


def test_files_are_found_by_their_beginning_and_end(artifact: Artifact) -> None:
    assert artifact.name == "tokens/wiki"
    assert artifact.paths(suffix=".bin") == ["a.bin", "b.bin"]
    assert artifact.paths("index/") == ["index/a.parquet"]


def test_only_whole_files_that_the_manifest_names_are_handed_out(artifact: Artifact) -> None:
    assert artifact.path("b.bin").read_text() == "22"
    with pytest.raises(ArtifactError, match=r"tokens/wiki: its manifest names no file 'c\.bin'"):
        artifact.path("c.bin")
    artifact.path("b.bin").write_text("2")
    with pytest.raises(ArtifactError, match=r"b\.bin has 1 bytes, its manifest says 2; run the workflow again"):
        artifact.path("b.bin")
    (artifact.folder / "b.bin").unlink()
    with pytest.raises(ArtifactError, match=r"b\.bin is missing; run the workflow again"):
        artifact.path("b.bin")
