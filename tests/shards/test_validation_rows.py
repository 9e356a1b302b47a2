import numpy as np
import pytest
import zarr
from tokenizers import Tokenizer

from pipeline.artifact.files import ArtifactError
from pipeline.settings.shards import ValidationStep
from pipeline.shards.rows import open_validation
from pipeline.shards.validation import validation


def make(lab, corpus, name="validation", tokenizer=None, **changes):
    settings = {"domains": ["code", "web", "wiki"], "rows": 1000, "seq_len": 64, "mtp_depth": 1, **changes}
    tokens = [one for one in corpus.tokens if one.name.split("/")[1] in settings["domains"]]
    return lab.run_step(
        validation,
        ValidationStep.parse(settings),
        corpus.root,
        f"shards/demo/{name}",
        tokens=tokens,
        tokenizer=[tokenizer or corpus.tokenizer],
    )


def test_validation_rows_hold_each_domains_validation_documents_once(lab, corpus):
    artifact = make(lab, corpus)
    tokenizer = Tokenizer.from_file(str(corpus.tokenizer.path("tokenizer.json")))
    for domain in ("code", "web", "wiki"):
        rows = open_validation(artifact, domain)
        np.testing.assert_array_equal(zarr.open(str(artifact.folder / f"{domain}.zarr"), mode="r")[:], rows)
        stream = rows[:, :64].reshape(-1)
        tokens = artifact.manifest.counts["domains"][domain]["tokens"]
        assert (stream[tokens:] == 2).all()
        assert len(stream) - tokens < 64
        ends = np.flatnonzero(stream[:tokens] == 1)
        texts = [tokenizer.decode(part[part != 1].tolist()) for part in np.split(stream[:tokens], ends + 1)[:-1]]
        assert sorted(texts) == sorted(text for text in corpus.texts("validation") if text.startswith(f"{domain}/"))


def test_validation_rows_are_capped_and_the_choice_is_reproducible(lab, corpus):
    first, again = make(lab, corpus, "capped", rows=4), make(lab, corpus, "capped-again", rows=4)
    assert first.manifest.files == again.manifest.files
    for domain in ("code", "web", "wiki"):
        rows = open_validation(first, domain)
        assert rows.shape == (4, 66)
        assert 2 not in rows[:, :64]
        assert first.manifest.counts["domains"][domain]["documents_unused"] > 0


def test_a_domain_without_validation_documents_has_no_rows(lab, tmp_path):
    corpus = lab.Corpus(tmp_path, {"web": [[5] * 4]}, fraction=0.0)
    artifact = make(lab, corpus, domains=["web"])
    assert open_validation(artifact, "web").shape == (0, 66)
    assert artifact.manifest.counts["domains"]["web"]["rows"] == 0


def test_another_tokenizer_or_a_missing_domain_is_refused(lab, corpus, tmp_path):
    with pytest.raises(ArtifactError, match="another tokenizer"):
        make(lab, corpus, tokenizer=lab.train_tokenizer(tmp_path / "tokenizer", 300))
    with pytest.raises(ArtifactError, match="domain 'books' has no tokens"):
        make(lab, corpus, domains=["web", "books"])
