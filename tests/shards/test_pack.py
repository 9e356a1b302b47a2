import collections
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from tokenizers import Tokenizer

from pipeline.artifact.files import ArtifactError
from pipeline.settings.shards import PackStep
from pipeline.shards.order import permutation
from pipeline.shards.pack import pack
from pipeline.shards.plan import PLAN
from pipeline.shards.rows import Rows
from pipeline.shards.tokens import open_block

END, PAD, SEQ_LEN = 1, 2, 64


def planned(corpus, plan):
    """The token ids of each entry of a plan, end tokens included, read the slow way."""
    blocks = {block.name: open_block(block, "train") for block in corpus.tokens}
    found = []
    for entry in pq.read_table(plan.path(PLAN)).to_pylist():
        block, number = blocks[entry["block"]], entry["first_document"]
        ids = [*block.tokens[block.offsets[number] : block.offsets[number + 1]].tolist(), END]
        found.append(ids[entry["first_token"] : entry["first_token"] + entry["tokens"]])
    return found


def in_order_of_the_stream(table, plan):
    """Undo the shuffling of the rows of each shard."""
    ordered = np.full_like(table, -1)
    per_shard, seed = plan.manifest.settings["rows_per_shard"], plan.manifest.settings["seed"]
    for shard, begin in enumerate(range(0, len(table), per_shard)):
        part = table[begin : begin + per_shard]
        ordered[begin + permutation(len(part), seed, "rows", shard)] = part
    return ordered


def decoded(corpus, documents):
    tokenizer = Tokenizer.from_file(str(corpus.tokenizer.path("tokenizer.json")))
    return [tokenizer.decode(list(ids)) for ids in documents]


def split_documents(ids):
    ends = np.flatnonzero(ids == END)
    return [part[part != END].tolist() for part in np.split(ids, ends + 1) if len(part)]


def test_concatenated_rows_decode_to_the_plans_documents_and_no_validation_document(corpus):
    plan = corpus.mix("concat", rows=290, max_epochs=40.0)
    rows = Rows(corpus.pack("concat", plan))
    assert (len(rows), rows.width) == (290, SEQ_LEN + 2)
    table = in_order_of_the_stream(rows.read(0, len(rows)), plan)
    stream = table[:, :SEQ_LEN].reshape(-1)
    np.testing.assert_array_equal(stream, [token for ids in planned(corpus, plan) for token in ids])
    np.testing.assert_array_equal(table[:-1, SEQ_LEN:], table[1:, :2])  # what the last targets are
    texts = decoded(corpus, split_documents(stream))
    train, validation = set(corpus.texts("train")), set(corpus.texts("validation"))
    assert set(texts[:-1]) <= train  # the last one is cut
    assert any(text.startswith(texts[-1]) for text in train)
    assert not set(texts) & validation
    assert len(validation) > 10


def test_a_plan_that_reads_a_domain_once_gives_back_each_of_its_documents(corpus):
    web = [open_block(one, "train") for one in corpus.tokens if one.name.startswith("tokens/wiki/")]
    total = sum(int(block.lengths.sum()) for block in web)
    divisor = next(size for size in range(20, total) if total % size == 0)
    plan = corpus.mix("whole", weights={"wiki": 1.0}, rows=total // divisor, seq_len=divisor, max_epochs=1.0)
    rows = Rows(corpus.pack("whole", plan))
    table = in_order_of_the_stream(rows.read(0, len(rows)), plan)
    texts = decoded(corpus, split_documents(table[:, :divisor].reshape(-1)))
    wiki = [text for text in corpus.texts("train") if text.startswith("wiki/")]
    assert sorted(texts) == sorted(wiki)


def test_best_fit_rows_hold_every_piece_once_and_cut_no_document_that_fits(corpus):
    plan = corpus.mix("best_fit", packing="best_fit", rows=290, max_epochs=40.0)
    rows = Rows(corpus.pack("best_fit", plan))
    assert len(rows) == 290
    wanted = collections.Counter()
    for ids in planned(corpus, plan):
        assert len(ids) <= SEQ_LEN + 1
        wanted[tuple(ids)] += 1
    found = collections.Counter()
    for row in rows.read(0, len(rows)):
        body = row[: SEQ_LEN + 1]
        if END not in body:  # a piece of a longer document, with the next tokens as targets
            found[tuple(row[:SEQ_LEN])] += 1
            assert PAD not in row
            continue
        assert (body[np.flatnonzero(body == END)[-1] + 1 :] == PAD).all()
        for ids in split_documents(body[body != PAD]):
            found[(*ids, END)] += 1
    assert found == wanted
    assert plan.manifest.counts["padding"] == sum(
        int((row[: SEQ_LEN + 1] == PAD).sum()) for row in rows.read(0, len(rows))
    )


def test_the_last_columns_of_a_cut_piece_are_the_documents_next_tokens(corpus):
    plan = corpus.mix("best_fit", packing="best_fit", weights={"code": 1.0}, rows=60, max_epochs=40.0)
    rows = Rows(corpus.pack("best_fit", plan)).read(0, 60)
    (code,) = (open_block(one, "train") for one in corpus.tokens if one.name.startswith("tokens/code/"))
    text = " ".join(map(str, code.tokens.tolist()))
    whole = [row for row in rows if END not in row and PAD not in row]
    assert len(whole) > 20
    assert all(" ".join(map(str, row.tolist())) in text for row in whole)


@pytest.mark.parametrize("packing", ["concat", "best_fit"])
def test_rows_do_not_depend_on_workers_and_blocks(corpus, packing, monkeypatch):
    monkeypatch.setattr("pipeline.shards.pack.PROCESS_TOKENS", 1)
    plan = corpus.mix(f"same-{packing}", packing=packing)
    one = corpus.pack(f"one-{packing}", plan, workers=1, shards_per_block=6)
    several = corpus.pack(f"several-{packing}", plan, workers=2, shards_per_block=3)
    files = [entry for block in several for entry in block.manifest.files]
    assert list(one[0].manifest.files) == files
    assert len(files) == 2 * 6


def test_zarr_reads_every_shard_as_the_loader_does(corpus):
    plan = corpus.mix("zarr")
    blocks = corpus.pack("zarr", plan)
    arrays = [
        zarr.open(str(path), mode="r")[:] for block in blocks for path in sorted(block.folder.glob("*.zarr"))
    ]  # fmt: skip
    assert [len(array) for array in arrays] == [16, 16, 16, 16, 16, 10]
    np.testing.assert_array_equal(np.concatenate(arrays), Rows(blocks).read(0, 90))


def test_kept_shards_are_left_alone_and_missing_ones_come_back_the_same(corpus):
    plan = corpus.mix("kept")
    (before,) = corpus.pack("kept", plan, shards_per_block=6)
    shutil.rmtree(before.folder / "000002.zarr")
    kept = frozenset(entry.path for entry in before.manifest.files if "000002" not in entry.path)
    times = {path: (before.folder / path).stat().st_mtime_ns for path in kept}
    (after,) = corpus.pack("kept", plan, shards_per_block=6, kept=kept)
    assert after.manifest.files == before.manifest.files
    assert times == {path: (after.folder / path).stat().st_mtime_ns for path in kept}


def run_pack(lab, corpus, plan, **changes):
    inputs = {"mixture": [plan], "tokens": corpus.tokens, "tokenizer": [corpus.tokenizer]}
    names = ("rows", "seq_len", "packing", "seed", "rows_per_shard")
    planned = {name: plan.manifest.settings[name] for name in names}
    step = PackStep.parse({**planned, "mtp_depth": 0, "first_shard": 0, "shards": 1, **changes.pop("settings", {})})
    return lab.run_step(pack, step, corpus.root, "shards/refused/0000", **{**inputs, **changes})


def test_another_tokenizer_than_that_of_the_tokens_is_refused(lab, corpus, tmp_path):
    other = lab.train_tokenizer(tmp_path / "tokenizer", 300)
    with pytest.raises(ArtifactError, match=r"tokens/\w+/0000 was made with another tokenizer"):
        run_pack(lab, corpus, corpus.mix("refused"), tokenizer=[other])


def test_a_plan_of_other_tokens_is_refused(lab, corpus, tmp_path):
    plan = corpus.mix("refused")
    with pytest.raises(
        ArtifactError, match="mixture/refused was made from other tokens than those given: tokens/web/0001"
    ):
        run_pack(lab, corpus, plan, tokens=[one for one in corpus.tokens if one.name != "tokens/web/0001"])
    folder = tmp_path / "tokens/web/0001"
    web = next(one for one in corpus.tokens if one.name == "tokens/web/0001")
    shutil.copytree(web.folder, folder)
    (folder / "more").write_text("other content")
    inputs = [("raw", corpus.raw["web/0001"]), ("tokenizer", corpus.tokenizer)]
    changed = lab.publish(folder, "tokens/web/0001", inputs=inputs)
    with pytest.raises(ArtifactError, match="made from other tokens than those given: tokens/web/0001"):
        run_pack(lab, corpus, plan, tokens=[changed if one is web else one for one in corpus.tokens])


def test_settings_that_are_not_the_plans_are_refused(lab, corpus):
    with pytest.raises(ArtifactError, match="planned with seq_len 64, these shards with 32"):
        run_pack(lab, corpus, corpus.mix("refused"), settings={"seq_len": 32})


def test_a_block_beyond_the_stage_is_refused(lab, corpus):
    with pytest.raises(ValueError, match="beyond the stage's 6 shards"):
        run_pack(lab, corpus, corpus.mix("refused"), settings={"first_shard": 5, "shards": 2})


def test_the_rows_of_a_long_document_do_not_follow_each_other(lab, tmp_path):
    corpus = lab.Corpus(tmp_path, {"books": [[2000] * 8]}, fraction=0.0)
    plan = corpus.mix("books", weights={"books": 1.0}, rows=400, rows_per_shard=400)
    table = Rows(corpus.pack("books", plan)).read(0, 400)
    assert (table[:-1, SEQ_LEN] == table[1:, 0]).mean() < 0.2
