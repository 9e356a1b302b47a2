import collections

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.artifact.files import ArtifactError
from pipeline.settings.shards import MixtureStep
from pipeline.shards.mixture import mixture
from pipeline.shards.plan import PLAN, SCHEMA, entries_of_shard, entries_of_span
from pipeline.shards.tokens import open_block
from pipeline.shards.unigram import unigram_counts

WEIGHTS = {"web": 0.5, "code": 0.3, "wiki": 0.2}


def plan_of(artifact):
    return pq.read_table(artifact.path(PLAN))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    weights=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    rows=st.integers(5, 150),
    seed=st.integers(0, 2**31),
    packing=st.sampled_from(["concat", "best_fit"]),
    per_shard=st.integers(1, 40),
)
def test_the_plan_delivers_the_shares_and_repeats_no_document_early(corpus, weights, rows, seed, packing, per_shard):
    shares = dict(zip(("code", "web", "wiki"), (weight / sum(weights) for weight in weights), strict=True))
    plan = corpus.mix(
        "property", weights=shares, rows=rows, seed=seed, packing=packing, rows_per_shard=per_shard,
        max_epochs=40.0,
    )  # fmt: skip
    entries = plan_of(plan).to_pylist()
    longest, lengths = {}, {}
    for block in corpus.tokens:
        lengths[block.name] = open_block(block, "train").lengths
        domain = block.name.split("/")[1]
        longest[domain] = max(longest.get(domain, 0), int(lengths[block.name].max()))
    total = sum(entry["tokens"] for entry in entries)
    assert total == plan.manifest.counts["tokens"]
    if packing == "concat":
        assert total == rows * 64
        for domain, share in shares.items():
            delivered = sum(entry["tokens"] for entry in entries if entry["domain"] == domain)
            assert abs(delivered - share * total) <= longest[domain] + share * sum(longest.values())
    offset = 0
    read = collections.defaultdict(list)
    for entry in entries:
        assert entry["offset"] == offset
        offset += entry["tokens"]
        assert entry["documents"] == 1
        assert entry["block"].split("/")[1] == entry["domain"]
        key = (entry["block"], entry["first_document"])
        assert entry["first_token"] + entry["tokens"] <= lengths[key[0]][key[1]]
        read[*key, entry["epoch"]].append((entry["first_token"], entry["tokens"]))
    for (block, document, epoch), pieces in read.items():
        assert len({first for first, _ in pieces}) == len(pieces)  # nothing twice in one epoch
        assert epoch == 0 or (block, document, epoch - 1) in read or packing == "best_fit"
        assert sum(tokens for _, tokens in pieces) <= lengths[block][document]
    for row in plan.manifest.counts["mixture"]:
        epochs = [epoch for (block, _, epoch) in read if block.split("/")[1] == row["domain"]]
        assert max(epochs, default=0) <= row["epochs"] + 1


def test_equal_settings_give_equal_bytes_and_another_seed_another_order(corpus):
    for packing in ("concat", "best_fit"):
        first, again = corpus.mix("a", packing=packing), corpus.mix("b", packing=packing)
        assert first.manifest.files == again.manifest.files
        other = corpus.mix("c", packing=packing, seed=4)
        assert plan_of(other).column("first_document") != plan_of(first).column("first_document")


@pytest.mark.parametrize("packing", ["concat", "best_fit"])
def test_every_shard_carries_the_mixture_to_within_documents(corpus, packing):
    plan = corpus.mix("even", packing=packing, rows=200, rows_per_shard=50, max_epochs=40.0)
    longest = max(int(open_block(one, "train").lengths.max()) for one in corpus.tokens)
    entries = plan_of(plan)
    domain = np.array(entries.column("domain").to_pylist())
    shard, offset, tokens = (entries.column(name).to_numpy() for name in ("shard", "offset", "tokens"))
    worst = 0.0
    for number in range(4):
        if packing == "concat":
            begin, end = number * 50 * 64, (number + 1) * 50 * 64
            inside = np.maximum(0, np.minimum(end, offset + tokens) - np.maximum(begin, offset))
        else:
            inside = np.where(shard == number, tokens, 0)
        for row in plan.manifest.counts["mixture"]:
            share = inside[domain == row["domain"]].sum() / inside.sum()
            worst = max(worst, abs(share - row["weight_delivered"]))
    assert plan.manifest.counts["largest_deviation"] == pytest.approx(worst)
    assert worst * 50 * 64 <= 2 * longest


def test_the_mixture_is_even_to_half_a_percent_where_shards_are_long(corpus):
    plan = corpus.mix("long", weights=WEIGHTS, rows=6000, rows_per_shard=3000, max_epochs=400.0)
    assert plan.manifest.counts["largest_deviation"] < 0.005
    for row in plan.manifest.counts["mixture"]:
        assert abs(row["weight_delivered"] - row["weight_asked"]) < 0.005


def test_the_table_says_what_was_asked_and_delivered(corpus):
    plan = corpus.mix("table", max_epochs=40.0)
    table = pq.read_table(plan.path("mixture.parquet")).to_pylist()
    assert table == plan.manifest.counts["mixture"]
    assert [row["domain"] for row in table] == ["code", "web", "wiki"]
    entries = plan_of(plan).to_pylist()
    for row in table:
        ours = [entry for entry in entries if entry["domain"] == row["domain"]]
        assert row["tokens_delivered"] == sum(entry["tokens"] for entry in ours)
        assert row["documents_read"] == len(ours)
        assert row["documents_used"] == len({(entry["block"], entry["first_document"]) for entry in ours})
        blocks = [open_block(one, "train") for one in corpus.tokens if one.name.split("/")[1] == row["domain"]]
        assert row["tokens_available"] == sum(int(block.lengths.sum()) for block in blocks)
        assert row["documents_used"] + row["documents_unused"] == sum(len(block.lengths) for block in blocks)
    assert sum(row["weight_delivered"] for row in table) == pytest.approx(1)


def test_a_shard_or_a_span_is_read_without_the_rest_of_the_plan(corpus):
    plan = corpus.mix("spans", rows=150, rows_per_shard=7, max_epochs=40.0)
    entries = plan_of(plan)
    assert entries.schema.equals(SCHEMA)
    shard, offset, tokens = (entries.column(name).to_numpy() for name in ("shard", "offset", "tokens"))
    for number in range(int(shard.max()) + 1):
        assert (
            entries_of_shard(plan.path(PLAN), number).column("offset").to_pylist() == offset[shard == number].tolist()
        )
    for begin, end in ((0, 1), (0, 10**9), (100, 100 + 7 * 64), (5000, 5001), (149 * 64, 150 * 64 + 2)):
        found = entries_of_span(plan.path(PLAN), begin, end).column("offset").to_pylist()
        assert found == offset[(offset < end) & (offset + tokens > begin)].tolist()


def test_the_unigram_counts_are_those_of_a_plan_that_reads_everything_once(corpus):
    web = [open_block(one, "train") for one in corpus.tokens if one.name.startswith("tokens/web/")]
    rows = sum(int(block.lengths.sum()) for block in web) // 64
    plan = corpus.mix("once", weights={"web": 1.0}, rows=rows, rows_per_shard=1000, max_epochs=1.0)
    counts = unigram_counts(plan, end=1)
    wanted = sum(np.bincount(block.tokens, minlength=len(counts)) for block in web)
    assert counts.sum() == pytest.approx(rows * 64)
    np.testing.assert_allclose(counts[2:], wanted[2:], rtol=0.05)  # the last document is cut
    assert counts[1] == pytest.approx(sum(len(block.lengths) for block in web), abs=3)


def test_a_missing_domain_is_refused_by_its_name(corpus):
    with pytest.raises(ArtifactError, match=r"domain 'books' has no tokens: given are .*tokens/wiki/0000"):
        corpus.mix("missing", weights={"web": 0.5, "wiki": 0.3, "books": 0.2})


def test_tokens_of_a_domain_without_weight_are_refused(corpus, lab):
    step = MixtureStep.parse(corpus.mix("given").manifest.settings | {"weights": {"web": 1.0}})
    with pytest.raises(ArtifactError, match="tokens/code/0000 was given, but 'code' is not among the domains web"):
        lab.run_step(mixture, step, corpus.root, "mixture/unwanted", tokens=corpus.tokens)


def test_a_domain_that_is_too_small_is_refused_or_its_share_redistributed(corpus):
    with pytest.raises(ArtifactError, match=r"wiki: .* tokens are asked, it has .* epochs"):
        corpus.mix("short", max_epochs=1.0, rows=300)
    plan = corpus.mix("short", max_epochs=1.0, rows=300, on_shortage="redistribute")
    table = {row["domain"]: row for row in plan.manifest.counts["mixture"]}
    assert table["wiki"]["epochs"] <= 1
    assert table["wiki"]["documents_unused"] <= 1
    assert table["web"]["weight_delivered"] > table["web"]["weight_asked"]


def test_tokens_of_two_tokenizers_are_not_mixed(lab, corpus, tmp_path):
    other = lab.Corpus(tmp_path, {"extra": [[30] * 20]}, vocabulary=300)
    with pytest.raises(ArtifactError, match="made with another tokenizer"):
        lab.run_step(
            mixture,
            MixtureStep.parse(corpus.mix("given").manifest.settings | {"weights": {"extra": 0.5, "wiki": 0.5}}),
            tmp_path,
            "mixture/two",
            tokens=[other.tokens[0], corpus.tokens[-1]],
        )


@pytest.mark.parametrize(
    ("weights", "message"), [({"a": 0.5, "b": 0.4}, "sum of 0.9"), ({"a": 1.0, "b": 0.0}, "weights.b")]
)
def test_weights_that_are_no_shares_are_refused(weights, message, corpus):
    with pytest.raises(ValueError, match=message):
        corpus.mix("weights", weights=weights)
