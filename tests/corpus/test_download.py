"""The step `download`."""

import json
from pathlib import Path

import pytest

from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.corpus.blocks import Block, blocks_of
from pipeline.corpus.download import download
from pipeline.settings.base import execution_of
from pipeline.settings.corpus import CorpusSettings, Domain

GOOD = {"id": "a", "text": "Some text. \u00e9"}


def local_block(path: Path, pattern: str = "**/*.json.gz", **settings: float) -> Block:
    corpus = CorpusSettings(corpus="local", **settings)
    (block,) = blocks_of(corpus, "wiki", Domain(weight=1.0, paths=(pattern,)), root=path)
    return block


def build_of(block: Block, folder: Path, kept: frozenset[str] = frozenset()) -> Build:
    folder.mkdir()
    return Build(folder, execution=execution_of(block.step), kept=kept)


def test_local_files_are_taken_in_their_folders_and_counted(dolma, tmp_path):
    first = dolma("corpus/one/a.json.gz", [GOOD, GOOD, {"text": ""}])
    second = dolma("corpus/two/a.json.gz", [GOOD])
    block = local_block(tmp_path / "corpus")
    build = build_of(block, tmp_path / "raw")
    counts = download(block.step, build)
    assert (build.folder / "files/one/a.json.gz").read_bytes() == first.read_bytes()
    assert (build.folder / "files/two/a.json.gz").read_bytes() == second.read_bytes()
    assert (counts["documents"], counts["text_bytes"]) == (3, 39)
    assert counts["bad_lines"]["empty_text"] == 1
    assert counts["by_file"]["files/one/a.json.gz"] == {"documents": 2, "text_bytes": 26}
    json.dumps(counts, allow_nan=False)


def test_a_local_file_takes_no_second_place_on_the_same_disk(dolma, tmp_path):
    path = dolma("corpus/a.json.gz", [GOOD])
    link = tmp_path / "corpus/b.json.gz"
    link.symlink_to(path)
    block = local_block(tmp_path / "corpus")
    build = build_of(block, tmp_path / "raw")
    download(block.step, build)
    assert (build.folder / "files/a.json.gz").samefile(path)
    assert not (build.folder / "files/b.json.gz").is_symlink()


def test_files_that_are_there_already_are_left_alone(dolma, tmp_path):
    dolma("corpus/a.json.gz", [GOOD])
    dolma("corpus/b.json.gz", [GOOD])
    block = local_block(tmp_path / "corpus")
    build = build_of(block, tmp_path / "raw", kept=frozenset({"files/a.json.gz"}))
    kept = dolma("raw/files/a.json.gz", [GOOD])
    before = kept.stat().st_ino
    download(block.step, build)
    assert kept.stat().st_ino == before
    assert (build.folder / "files/b.json.gz").is_file()


def test_a_file_that_grew_since_planning_is_refused(dolma, tmp_path):
    path = dolma("corpus/a.json.gz", [GOOD])
    block = local_block(tmp_path / "corpus")
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(ArtifactError, match=r"a\.json\.gz has .* bytes, it had"):
        download(block.step, build_of(block, tmp_path / "raw"))


def test_a_file_that_is_gone_since_planning_is_refused(dolma, tmp_path):
    path = dolma("corpus/a.json.gz", [GOOD])
    block = local_block(tmp_path / "corpus")
    path.unlink()
    with pytest.raises(ArtifactError, match=r"a\.json\.gz does not exist any more"):
        download(block.step, build_of(block, tmp_path / "raw"))


def test_a_truncated_file_is_refused_with_its_name(dolma, tmp_path):
    dolma("corpus/a.json.gz", [GOOD])
    path = dolma("corpus/cut.json.gz", [GOOD] * 100)
    path.write_bytes(path.read_bytes()[:-10])
    block = local_block(tmp_path / "corpus")
    with pytest.raises(ArtifactError, match=r"cut\.json\.gz is a truncated gzip file"):
        download(block.step, build_of(block, tmp_path / "raw"))


def test_bad_lines_are_counted_up_to_the_fraction_and_then_refused(dolma, tmp_path):
    dolma("corpus/a.json.gz", [GOOD] * 9 + [b"nonsense"])
    allowed = local_block(tmp_path / "corpus", max_bad_fraction=0.1)
    counts = download(allowed.step, build_of(allowed, tmp_path / "allowed"))
    assert counts["documents"] == 9
    assert counts["bad_lines"]["not_json"] == 1
    assert "line 10" in counts["bad_examples"][0]
    refused = local_block(tmp_path / "corpus")
    with pytest.raises(ArtifactError, match=r"domain wiki, block 0000: 1 of 10 lines are unreadable"):
        download(refused.step, build_of(refused, tmp_path / "refused"))


def test_a_block_without_a_document_is_refused_with_its_domain(dolma, tmp_path):
    dolma("corpus/a.json.gz", [{"text": ""}])
    block = local_block(tmp_path / "corpus")
    with pytest.raises(ArtifactError, match=r"domain wiki, block 0000: there is no document"):
        download(block.step, build_of(block, tmp_path / "raw"))


def test_the_embedded_sample_goes_the_same_way(tmp_path):
    (block,) = blocks_of(CorpusSettings(corpus_bytes=10_000_000), "language_reference", Domain(weight=1.0))
    build = build_of(block, tmp_path / "raw")
    counts = download(block.step, build)
    assert counts["documents"] > 10
    assert 100_000 < counts["text_bytes"] <= 200_000
    assert set(counts["packages"]) == {"python"}
    assert list(counts["by_file"]) == ["files/language_reference-0000.json.gz"]


def test_an_embedded_sample_too_small_for_a_document_is_refused_with_the_way_out(tmp_path):
    (block,) = blocks_of(CorpusSettings(corpus_bytes=100), "readmes", Domain(weight=1.0))
    with pytest.raises(ArtifactError, match=r"domain readmes, .* raise corpus_bytes"):
        download(block.step, build_of(block, tmp_path / "raw"))
