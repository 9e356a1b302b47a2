"""Which files make up which blocks, known at parse time."""

import shutil
from pathlib import Path

import pytest

from pipeline.corpus.blocks import blocks_of
from pipeline.settings.base import SettingsError, execution_of, identity
from pipeline.settings.corpus import EMBEDDED_SHARES, CorpusSettings, Domain

LOCAL = CorpusSettings(corpus="local", files_per_block=2)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "here"
    for name in ("wiki/a.json.gz", "wiki/b.json.gz", "wiki/deep/a.json.gz", "wiki/notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def domain(*paths: str) -> Domain:
    return Domain(weight=1.0, paths=paths)


def test_the_embedded_sample_is_one_block_a_domain():
    for name in EMBEDDED_SHARES:
        (block,) = blocks_of(CorpusSettings(), name, Domain(weight=1.0))
        assert (block.domain, block.name, block.step.files) == (name, "0000", (f"{name}-0000.json.gz",))


def test_the_embedded_domains_share_the_bytes_of_the_corpus():
    given = [
        blocks_of(CorpusSettings(corpus_bytes=1000), name, domain())[0].step.text_bytes for name in EMBEDDED_SHARES
    ]
    assert 990 <= sum(given) <= 1000
    assert min(given) > 0


def test_an_unknown_embedded_domain_is_refused_with_the_five_names():
    with pytest.raises(SettingsError) as refused:
        blocks_of(CorpusSettings(), "wiki", domain())
    assert "domains.wiki" in str(refused.value)
    assert all(name in str(refused.value) for name in EMBEDDED_SHARES)


def test_local_files_are_grouped_in_order(corpus):
    blocks = blocks_of(LOCAL, "wiki", domain(f"{corpus}/wiki/**/*.json.gz"))
    assert [(block.name, block.step.files) for block in blocks] == [
        ("0000", ("a.json.gz", "b.json.gz")),
        ("0001", ("deep/a.json.gz",)),
    ]


def test_files_of_one_name_in_two_folders_stay_apart(corpus):
    paths = domain(str(corpus / "wiki/a.json.gz"), str(corpus / "wiki/deep/a.json.gz"))
    (block,) = blocks_of(LOCAL, "wiki", paths)
    assert block.step.files == ("a.json.gz", "deep/a.json.gz")


def test_a_file_named_twice_is_taken_once(corpus):
    (block,) = blocks_of(LOCAL, "wiki", domain("wiki/a.json.gz", "wiki/*.json.gz"), root=corpus)
    assert block.step.files == ("a.json.gz", "b.json.gz")


def test_moving_the_corpus_leaves_the_identity(corpus, tmp_path):
    (before,) = blocks_of(LOCAL, "wiki", domain(f"{corpus}/wiki/*.json.gz"))
    shutil.move(corpus, tmp_path / "there")
    (after,) = blocks_of(LOCAL, "wiki", domain(f"{tmp_path}/there/wiki/*.json.gz"))
    assert identity(after.step) == identity(before.step)
    assert execution_of(after.step) != execution_of(before.step)
    assert str(tmp_path) not in str(identity(after.step))


def test_a_replaced_file_changes_the_identity(corpus):
    (before,) = blocks_of(LOCAL, "wiki", domain(f"{corpus}/wiki/*.json.gz"))
    (corpus / "wiki/a.json.gz").write_text("something longer than before")
    (after,) = blocks_of(LOCAL, "wiki", domain(f"{corpus}/wiki/*.json.gz"))
    assert identity(after.step) != identity(before.step)


@pytest.mark.parametrize("path", ["wiki/gone.json.gz", "nothing/*.json.gz"])
def test_a_path_without_a_file_is_refused_with_its_key(corpus, path):
    with pytest.raises(SettingsError, match=r"domains\.wiki\.paths: .*" + path.replace("*", r"\*")):
        blocks_of(LOCAL, "wiki", domain("wiki/a.json.gz", path), root=corpus)


def test_a_local_domain_without_paths_is_refused_with_its_key():
    with pytest.raises(SettingsError, match=r"domains\.wiki\.paths: .* needs files"):
        blocks_of(LOCAL, "wiki", domain())


def test_a_file_of_another_kind_is_refused(corpus):
    with pytest.raises(SettingsError, match=r"notes\.txt is no \.json\.gz file"):
        blocks_of(LOCAL, "wiki", domain("wiki/*"), root=corpus)


def test_a_name_with_brackets_is_a_file_if_there_is_one(corpus):
    (corpus / "wiki/a.json.gz").rename(corpus / "wiki/a[1].json.gz")
    (block,) = blocks_of(LOCAL, "wiki", domain("wiki/a[1].json.gz"), root=corpus)
    assert block.step.files == ("a[1].json.gz",)
