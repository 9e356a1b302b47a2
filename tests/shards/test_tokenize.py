import gzip
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from tokenizers import Tokenizer

from pipeline.artifact.files import ArtifactError
from pipeline.corpus.split import is_validation
from pipeline.settings.tokens import TokenizeStep
from pipeline.shards.tokenize import tokenize
from pipeline.shards.tokens import open_block
from pipeline.tokenizer.special import SPECIAL_TOKENS

STEP = TokenizeStep.parse({"validation": {"fraction": 0.3, "seed": 1}})


def make(lab, root, files, step=STEP, workers=1, name="tokens/web/0000", write=True):
    for file, records in (files if write else {}).items():
        lab.write_dolma(root / "raw/web/0000" / file, records)
    raw = lab.publish(root / "raw/web/0000", "raw/web/0000")
    tokenizer = lab.train_tokenizer(root / "tokenizer")
    return lab.run_step(tokenize, step, root, name, workers, raw=[raw], tokenizer=[tokenizer])


def documents(block):
    return [block.tokens[a:b].tolist() for a, b in zip(block.offsets[:-1], block.offsets[1:], strict=True)]


def test_tokens_decode_to_the_texts_and_the_index_leads_back_to_the_lines(lab, tmp_path):
    texts = [lab.text_of(str(number), number) for number in range(60)]
    records = [{"id": f"doc-{number}", "text": text} for number, text in enumerate(texts)]
    files = {"a.json.gz": records[:25], "b/c.json.gz": records[25:]}
    artifact = make(lab, tmp_path, files)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer/tokenizer.json"))
    index = pq.read_table(artifact.path("index.parquet")).to_pylist()
    assert len(index) == len(texts)
    seen = {split: documents(open_block(artifact, split)) for split in ("train", "validation")}
    assert sum(map(len, seen.values())) == len(texts)
    for row in index:
        record = files[row["file"]][row["line"] - 1]
        ids = seen[row["split"]][row["document"]]
        assert tokenizer.decode(ids) == record["text"]
        assert row["id"] == record["id"]
        assert row["tokens"] == len(ids)
        assert row["text_bytes"] == len(record["text"].encode())
        assert (row["split"] == "validation") == is_validation(record["text"], 0.3, 1)
    counts = artifact.manifest.counts
    assert counts["documents"] == {split: len(found) for split, found in seen.items()}
    assert counts["tokens"] == {split: sum(map(len, found)) for split, found in seen.items()}
    assert sum(counts["text_bytes"].values()) == sum(len(text.encode()) for text in texts)
    assert counts["encoder"][0]["engine"] in ("gigatoken", "tokenizers")


def test_zarr_reads_the_group_and_the_histogram_counts_the_train_tokens(corpus):
    for artifact in corpus.tokens:
        group = zarr.open_group(str(artifact.folder / "tokens.zarr"), mode="r")
        for split in ("train", "validation"):
            block = open_block(artifact, split)
            assert block.tokens.dtype == np.uint16
            np.testing.assert_array_equal(group[f"{split}/tokens"][:], block.tokens)
            np.testing.assert_array_equal(group[f"{split}/offsets"][:], block.offsets)
        histogram = np.bincount(open_block(artifact, "train").tokens, minlength=group.attrs["vocabulary"])
        np.testing.assert_array_equal(group["train/histogram"][:], histogram)


def test_the_bytes_do_not_depend_on_the_number_of_workers(lab, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.shards.tokenize.PROCESS_BYTES", 1)
    files = {
        f"{file}.json.gz": [{"id": str(line), "text": lab.text_of(f"{file}-{line}", 30)} for line in range(20)]
        for file in range(5)
    }
    one = make(lab, tmp_path, files)
    three = make(lab, tmp_path, files, workers=3, name="tokens/web/0001")
    assert one.manifest.files == three.manifest.files
    assert one.manifest.counts == three.manifest.counts


def test_batches_of_a_large_file_follow_each_other(lab, tmp_path, monkeypatch):
    files = {"a.json.gz": [{"id": str(line), "text": lab.text_of(str(line), 20)} for line in range(50)]}
    whole = make(lab, tmp_path, files)
    monkeypatch.setattr("pipeline.shards.tokenize_file.BATCH_CHARACTERS", 500)
    pieces = make(lab, tmp_path, files, name="tokens/web/0001")
    for split in ("train", "validation"):
        assert documents(open_block(whole, split)) == documents(open_block(pieces, split))
    tables = [pq.read_table(one.path("index.parquet")).to_pylist() for one in (whole, pieces)]
    assert tables[0] == tables[1]


def test_bad_lines_are_counted_by_kind_and_make_no_document(lab, tmp_path):
    good = [{"id": str(line), "text": lab.text_of(str(line), 3)} for line in range(20)]
    bad = ["{not json", '{"id": "x"}', '{"id": "x", "text": 3}', '{"id": "x", "text": ""}']
    step = TokenizeStep.parse({"validation": {"fraction": 0.3, "seed": 1}, "max_bad_fraction": 0.2})
    artifact = make(lab, tmp_path, {"a.json.gz": [*good[:10], *bad, *good[10:]]}, step)
    counts = artifact.manifest.counts
    assert sum(counts["documents"].values()) == 20
    kinds = {kind: count for kind, count in counts["bad_lines"].items() if count}
    assert kinds == {"not_json": 1, "no_text": 1, "text_not_string": 1, "empty_text": 1}
    lines = pq.read_table(artifact.path("index.parquet")).column("line").to_pylist()
    assert lines == [*range(1, 11), *range(15, 25)]
    with pytest.raises(ArtifactError, match="3 of 24 lines are unreadable"):
        make(lab, tmp_path, {}, STEP, name="tokens/web/0001", write=False)


def test_a_block_of_empty_texts_gives_arrays_without_documents(lab, tmp_path):
    artifact = make(lab, tmp_path, {"a.json.gz": [{"id": "x", "text": ""}]})
    assert documents(open_block(artifact, "train")) == documents(open_block(artifact, "validation")) == []
    assert artifact.manifest.counts["bad_lines"]["empty_text"] == 1


def test_names_of_special_tokens_in_a_text_stay_text(lab, tmp_path):
    text = "before " + "".join(SPECIAL_TOKENS) + " after"
    artifact = make(
        lab, tmp_path, {"a.json.gz": [{"id": "x", "text": text}]}, TokenizeStep.parse({"validation": {"fraction": 0.0}})
    )
    (ids,) = documents(open_block(artifact, "train"))
    assert min(ids) >= len(SPECIAL_TOKENS)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer/tokenizer.json")).decode(ids) == text


def test_a_truncated_gzip_is_refused_with_its_name(lab, tmp_path):
    path = tmp_path / "raw/web/0000/a.json.gz"
    path.parent.mkdir(parents=True)
    records = [json.dumps({"id": str(line), "text": lab.text_of(str(line), 300)}) for line in range(50)]
    path.write_bytes(gzip.compress("\n".join(records).encode())[:-50])
    with pytest.raises(ArtifactError, match=r"a\.json\.gz is a truncated gzip file"):
        make(lab, tmp_path, {}, write=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_raw_file_with_other_bytes_than_its_manifest_says_is_refused(lab, tmp_path, workers, monkeypatch):
    monkeypatch.setattr("pipeline.shards.tokenize.PROCESS_BYTES", 1)
    files = {f"{name}.json.gz": [{"id": "x", "text": lab.text_of(name, 30)}] for name in "ab"}
    artifact = make(lab, tmp_path, files)
    raw = lab.publish(tmp_path / "raw/web/0000", "raw/web/0000")
    path = tmp_path / "raw/web/0000/b.json.gz"
    data = bytearray(path.read_bytes())
    data[4] ^= 1  # the header's time: the text is the same
    path.write_bytes(data)
    tokenizer = lab.train_tokenizer(tmp_path / "tokenizer")
    with pytest.raises(ArtifactError, match=r"b\.json\.gz has other bytes.*; delete it and run the workflow again"):
        lab.run_step(tokenize, STEP, tmp_path, "tokens/web/0001", workers, raw=[raw], tokenizer=[tokenizer])
    assert artifact.manifest.counts["files"] == 2


def test_a_block_without_files_is_refused(lab, tmp_path):
    (tmp_path / "raw/web/0000").mkdir(parents=True)
    with pytest.raises(ArtifactError, match=r"raw/web/0000 holds no \.json\.gz file"):
        make(lab, tmp_path, {})


def test_a_vocabulary_beyond_16_bits_is_stored_in_32():
    from pipeline.shards.layout import id_type

    assert id_type(65536) == np.dtype("<u2")
    assert id_type(65537) == np.dtype("<u4")


def test_a_tokenizer_with_other_bytes_than_its_manifest_says_is_refused(lab, tmp_path):
    make(lab, tmp_path, {"a.json.gz": [{"id": "x", "text": "text"}]})
    raw, tokenizer = lab.publish(tmp_path / "raw/web/0000", "raw/web/0000"), lab.train_tokenizer(tmp_path / "tokenizer")
    path = tmp_path / "tokenizer/tokenizer.json"
    path.write_text(path.read_text().replace('"version": "1.0"', '"version":  "1.0"').replace(": null", ":null", 1))
    with pytest.raises(ArtifactError, match=r"tokenizer\.json has other bytes.*; delete it and run the workflow again"):
        lab.run_step(tokenize, STEP, tmp_path, "tokens/web/0001", raw=[raw], tokenizer=[tokenizer])
