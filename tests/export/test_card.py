"""The model card."""

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
    folder, _ = workshop.export(*inputs, **settings)
    return (folder / "README.md").read_text()


def test_the_card_names_every_ancestor_with_its_fingerprint(make_model, workshop):
    card = card_of(workshop, make_model(), {"mixture": FIGURES, "domains": {"wiki": FIGURES}})
    for name in ("train/demo", "evaluate/demo", "tokenizer"):
        assert f"| `{name}` | `fingerprint of {name}` |" in card


def test_the_card_shows_the_figures_of_the_evaluation(make_model, workshop):
    card = card_of(workshop, make_model(), {"mixture": FIGURES, "domains": {"wiki": FIGURES | {"accuracy": 0.5}}})
    assert "| wiki | 1 | 2.5 | 12.18 | 1.235 | 4.5 | 2.1 | 0.5 |" in card
    assert "| **mixture** | 1 | 2.5 | 12.18 | 1.235 | 4.5 | 2.1 | 0.25 |" in card


def test_without_an_evaluation_the_card_claims_nothing(make_model, workshop):
    assert "## Evaluation" not in card_of(workshop, make_model())


def test_the_card_states_the_licence_of_the_text_or_that_there_is_none_stated(make_model, workshop, tmp_path):
    assert "Licence: ODC-BY 1.0." in card_of(workshop, make_model(), data_licence="ODC-BY 1.0")
    workshop.results = tmp_path / "other"
    assert "Licence: not stated (setting `export.data_licence`)" in card_of(workshop, make_model())


def test_the_card_warns_where_engines_may_not_know_the_layers(make_model, workshop, tmp_path):
    warning = "Engines that ignore `mlp_layer_types`"
    assert warning in card_of(workshop, make_model(dense_layer_interval=3))
    workshop.results = tmp_path / "other"
    assert warning not in card_of(workshop, make_model())
