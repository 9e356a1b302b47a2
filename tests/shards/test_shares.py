import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.artifact.files import ArtifactError
from pipeline.shards.shares import token_shares

DOMAINS = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.floats(1e-6, 1e3), st.integers(0, 10**13)), min_size=1
)


def split(domains):
    total = math.fsum(weight for weight, _ in domains.values())
    return {name: weight / total for name, (weight, _) in domains.items()}, {
        n: size for n, (_, size) in domains.items()
    }


@given(domains=DOMAINS, total=st.integers(1, 10**13), max_epochs=st.floats(0.1, 8))
def test_shares_add_up_and_follow_the_weights_where_text_suffices(domains, total, max_epochs):
    weights, available = split(domains)
    assume(all(math.floor(max_epochs * available[name]) > weights[name] * total + 1 for name in weights))
    shares = token_shares(weights, available, total, max_epochs, "error")
    assert sum(shares.values()) == total
    assert all(abs(shares[name] - weights[name] * total) <= 1 for name in weights)
    assert shares == token_shares(dict(reversed(weights.items())), available, total, max_epochs, "redistribute")


@given(domains=DOMAINS, total=st.integers(1, 10**13), max_epochs=st.floats(0.1, 8))
def test_what_a_domain_lacks_goes_to_the_others_by_their_weights(domains, total, max_epochs):
    weights, available = split(domains)
    caps = {name: math.floor(max_epochs * available[name]) for name in weights}
    assume(sum(caps.values()) >= total)
    shares = token_shares(weights, available, total, max_epochs, "redistribute")
    assert sum(shares.values()) == total
    assert all(0 <= shares[name] <= caps[name] for name in weights)
    free = [name for name in weights if shares[name] < caps[name] - 1]
    for name in free:  # those that are not at their limit have their weights' proportions
        ratio = sum(shares[other] for other in free) / math.fsum(weights[other] for other in free)
        assert abs(shares[name] - weights[name] * ratio) <= 2 + 1e-9 * total


def test_a_shortage_is_an_error_that_names_the_domain_and_the_ways_on():
    with pytest.raises(ArtifactError, match=r"wiki: 500 tokens are asked, it has 100 \(5.00 epochs\).*redistribute"):
        token_shares({"web": 0.5, "wiki": 0.5}, {"web": 10_000, "wiki": 100}, 1000, 4, "error")


def test_a_corpus_that_is_too_small_is_an_error_even_when_redistributing():
    with pytest.raises(ArtifactError, match=r"needs 1,000 tokens, data\.max_epochs 4 allows 800"):
        token_shares({"web": 0.5, "wiki": 0.5}, {"web": 100, "wiki": 100}, 1000, 4, "redistribute")


def test_a_domain_without_text_is_an_error_and_not_a_division_by_zero():
    with pytest.raises(ArtifactError, match="wiki: 500 tokens are asked, it has 0"):
        token_shares({"web": 0.5, "wiki": 0.5}, {"web": 10_000, "wiki": 0}, 1000, 4, "error")
