"""The model card."""

import json

import pytest

from pipeline.artifact.manifest import MANIFEST

FIGURES = {
    "weight": 1.0,
    "nats_per_token": 2.5,
    "perplexity": 12.18249,
    "bits_per_byte": 1.23456,
    "unigram_bits_per_byte": 4.5,
    "gzip_bits_per_byte": 2.1,
    "accuracy": 0.25,
    "mtp_accuracy": [0.2],
}


def card_of(workshop, model, counts=None, **settings):
    tokenizer = workshop.tokenizer()
    train = workshop.train(model, tokenizer)
    inputs = [train, tokenizer]
    if counts is not None:
        inputs.append(workshop.artifact("evaluate/demo", "evaluate", (train, tokenizer), counts=counts))
    return exported_card(workshop, *inputs, **settings)


def exported_card(workshop, *inputs, **settings):
    folder, _ = workshop.export(*inputs, **settings)
    return folder.rename(workshop.results / f"card {len(list(workshop.results.glob('card *')))}") / "README.md"


def made_chain(workshop, model):
    """Raw text, tokens of it, a tokenizer and a training run: as in the workflow, each made of those before."""
    raw = workshop.artifact("raw/wiki/0000", "download")
    tokenizer = workshop.tokenizer()
    tokens = workshop.artifact("tokens/wiki/0000", "tokenize", (raw, tokenizer))
    return raw, tokens, workshop.train(model, tokens, tokenizer), tokenizer


def row(artifact, state=""):
    return f"| `{artifact.name}` | `{artifact.manifest.content}` | {state} |"


def test_the_lineage_goes_back_to_the_raw_text(make_model, workshop):
    raw, tokens, train, tokenizer = made_chain(workshop, make_model())
    lines = exported_card(workshop, train, tokenizer).read_text().partition("## Lineage")[2].splitlines()
    assert [line for line in lines if line.startswith("| `")] == [row(one) for one in (raw, tokenizer, tokens, train)]


def test_an_ancestor_that_is_gone_or_replaced_is_called_so(make_model, workshop):
    raw, tokens, train, tokenizer = made_chain(workshop, make_model())
    (raw.folder / MANIFEST).unlink()
    (tokens.folder / "other").write_text("other data")
    workshop.artifact("tokens/wiki/0000", "tokenize", (raw, tokenizer))
    card = exported_card(workshop, train, tokenizer).read_text()
    assert row(raw, "no longer there") in card
    assert "it is not known what they were made of" in card
    assert row(tokens, "replaced since") in card
    assert "what their successors were made of is listed" in card


def test_an_equal_checkpoint_gives_an_equal_card_whenever_and_however_fast_it_was_trained(make_model, workshop):
    model, tokenizer = make_model(), workshop.tokenizer()
    first = exported_card(workshop, workshop.train(model, tokenizer), tokenizer)
    later = workshop.train(
        model,
        tokenizer,
        cost={"started": "2031-01-01T00:00:00", "seconds": 99.0, "host": "elsewhere"},
        counts={"seconds": 98.5, "tokens_per_second": 1.0},
        fingerprint="of newer code",
    )
    assert exported_card(workshop, later, tokenizer).read_bytes() == first.read_bytes()


def test_the_card_tells_how_the_model_was_trained(make_model, workshop):
    card = card_of(workshop, make_model()).read_text()
    for line in (
        "| tokens | 4,096 |",
        "| steps | 16 (0 of them skipped, as not finite) |",
        "| sequence length | 32 tokens |",
        "| global batch | 8 sequences, 256 tokens |",
        "| peak learning rate | 0.0025 |",
        "| schedule | cosine, 512 tokens of warm-up, to 0.1 of the peak |",
        "| optimizer | AdamW, betas 0.9 and 0.95, epsilon 1e-08, weight decay 0.1, gradients clipped to norm 1 |",
        "| precision | float32 |",
    ):
        assert line in card


@pytest.mark.parametrize(
    ("moe", "training", "ways"),
    [
        ({}, {}, "router biases (update speed 0.001), a loss within each sequence (weight 0.0001)"),
        (
            {"sequence_loss_weight": 0.0},
            {"bias_update_until_fraction": 0.75},
            "router biases (update speed 0.001 over the first 0.75 of the tokens)",
        ),
        (
            {"bias_update_speed": 0.0, "sequence_loss_weight": 0.0, "router_aux_loss_weight": 0.01},
            {},
            "the Switch loss over 4 sequences (weight 0.01)",
        ),
        ({"sequence_loss_weight": 0.0}, {"bias_update_until_fraction": 0.0}, "nothing"),
    ],
)
def test_the_card_names_the_balancing_that_was_used_and_no_other(make_model, workshop, moe, training, ways):
    tokenizer = workshop.tokenizer()
    train = workshop.train(make_model(moe=moe), tokenizer, training=training)
    card = exported_card(workshop, train, tokenizer).read_text()
    assert f"| expert load balanced by | {ways} |\n" in card
    assert ("router biases" in card) == ("router biases" in ways)


@pytest.mark.parametrize("shape", [{}, {"dense_layer_interval": 3}])
def test_the_tag_is_the_type_that_transformers_loads(make_model, workshop, shape):
    path = card_of(workshop, make_model(**shape))
    model_type = json.loads(path.with_name("config.json").read_text())["model_type"]
    assert f"\ntags: [mixture-of-experts, {model_type}]\n" in path.read_text()


def test_a_model_without_mtp_does_not_claim_it(make_model, workshop, tmp_path):
    assert "multi-token prediction" in card_of(workshop, make_model()).read_text()
    workshop.results = tmp_path / "other"
    assert "multi-token prediction" not in card_of(workshop, make_model(mtp_depth=0)).read_text()


def test_the_card_shows_the_figures_of_the_evaluation(make_model, workshop):
    card = card_of(
        workshop, make_model(), {"mixture": FIGURES, "domains": {"wiki": FIGURES | {"accuracy": 0.5}}}
    ).read_text()
    assert "| wiki | 1 | 2.5 | 12.18 | 1.235 | 4.5 | 2.1 | 0.5 |" in card
    assert "| **mixture** | 1 | 2.5 | 12.18 | 1.235 | 4.5 | 2.1 | 0.25 |" in card


def test_without_an_evaluation_the_card_claims_nothing(make_model, workshop):
    assert "## Evaluation" not in card_of(workshop, make_model()).read_text()


def test_the_card_states_the_licence_of_the_text_or_that_there_is_none_stated(make_model, workshop, tmp_path):
    assert "Licence: ODC-BY 1.0." in card_of(workshop, make_model(), data_licence="ODC-BY 1.0").read_text()
    workshop.results = tmp_path / "other"
    assert "Licence: not stated (setting `export.data_licence`)" in card_of(workshop, make_model()).read_text()


def test_the_card_warns_where_engines_may_not_know_the_layers(make_model, workshop, tmp_path):
    warning = "Engines that ignore `mlp_layer_types`"
    assert warning in card_of(workshop, make_model(dense_layer_interval=3)).read_text()
    workshop.results = tmp_path / "other"
    assert warning not in card_of(workshop, make_model()).read_text()
