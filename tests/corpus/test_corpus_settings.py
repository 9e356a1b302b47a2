"""Settings of the corpus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.base import SettingsError
from pipeline.settings.corpus import EMBEDDED_SHARES, CorpusSettings, Domain, Validation, normalize_weights


@given(st.dictionaries(st.text(min_size=1), st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_weights_keep_their_proportions_and_sum_to_one(weights):
    domains = {name: Domain(weight=weight) for name, weight in weights.items()}
    normalized = normalize_weights(domains)
    total = sum(weights.values())
    assert sum(normalized.values()) == pytest.approx(1)
    assert normalized == pytest.approx({name: weight / total for name, weight in weights.items()})


def test_weights_of_zero_are_refused_with_their_keys():
    with pytest.raises(SettingsError, match=r"domains\.a\.weight, domains\.b\.weight: every weight is 0.*positive"):
        normalize_weights({"a": Domain(weight=0.0), "b": Domain(weight=0.0)})


def test_no_domain_at_all_is_refused():
    with pytest.raises(SettingsError, match="domains: there is none"):
        normalize_weights({})


@pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan")])
def test_a_weight_that_is_no_share_is_refused(weight):
    with pytest.raises(ValueError, match="weight"):
        Domain(weight=weight)


@pytest.mark.parametrize(
    ("section", "data"),
    [
        (CorpusSettings, {"corpus": "dolma9"}),
        (CorpusSettings, {"corpus_bytes": 0}),
        (CorpusSettings, {"max_bad_fraction": 2}),
        (Validation, {"fraction": 1}),
        (Domain, {"weight": 1, "path": []}),
    ],
)
def test_an_impossible_value_is_refused_with_its_key(section, data):
    with pytest.raises(SettingsError, match=list(data)[-1]):
        section.parse(data)


def test_the_shares_of_the_embedded_sample_sum_to_one():
    assert sum(EMBEDDED_SHARES.values()) == pytest.approx(1)
