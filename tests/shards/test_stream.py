import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.stream import shuffle, weave

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=60).map(lambda values: np.array(values, np.int64))


@given(lengths=LENGTHS, wanted=st.integers(0, 5000), seed=st.integers(0, 9))
def test_a_domain_is_read_whole_before_it_is_read_again(lengths, wanted, seed):
    document, epoch = shuffle(lengths, wanted, seed, "wiki")
    taken = lengths[document]
    assert taken.sum() >= wanted
    assert len(taken) == 0 or taken.sum() - taken[-1] < wanted
    assert (np.diff(epoch) >= 0).all()
    for number in range(int(epoch.max(initial=-1)) + 1):
        read = document[epoch == number]
        assert len(np.unique(read)) == len(read)
        assert number == epoch.max() or len(read) == len(lengths)


@given(
    domains=st.dictionaries(st.sampled_from("abcd"), LENGTHS, min_size=1),
    wanted=st.lists(st.integers(200, 3000), min_size=4, max_size=4),
    seed=st.integers(0, 9),
    cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_every_stretch_has_each_domains_share_to_within_a_document(domains, wanted, seed, cuts):
    shares = dict(zip(sorted(domains), wanted, strict=False))
    stream = weave(domains, shares, seed)
    total = sum(shares.values())
    ends = np.cumsum(stream.tokens)
    assert ends[-1] >= total
    begin, end = sorted(int(cut * len(ends)) for cut in cuts)
    stretch = slice(begin, end)
    longest = {name: int(lengths.max()) for name, lengths in domains.items()}
    for number, name in enumerate(sorted(domains)):
        ours = int(stream.tokens[stretch][stream.domain[stretch] == number].sum())
        share = shares[name] / total
        # A document of its own, and the share of one of each other domain, may hang over the ends.
        allowed = longest[name] * (1 - share) + share * sum(longest[other] for other in domains if other != name)
        assert abs(ours - share * int(stream.tokens[stretch].sum())) <= allowed + 1e-6


@given(domains=st.dictionaries(st.sampled_from("abcd"), LENGTHS, min_size=1), seed=st.integers(0, 9))
def test_the_order_of_the_domains_does_not_matter(domains, seed):
    shares = dict.fromkeys(domains, 500)
    first, second = weave(domains, shares, seed), weave(dict(reversed(domains.items())), shares, seed)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
