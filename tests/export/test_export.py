"""The exported folder, loaded by transformers."""

import json

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_layers import MtpModel

from pipeline.artifact.files import ArtifactError
from pipeline.settings.base import SettingsError

YARN = {"yarn": {"factor": 4.0, "original_max_position": 16, "mscale": 0.7, "mscale_all_dim": 1.3}}
PATTERNS = {
    "deepseek_v3": {"first_k_dense": 2},
    "glm4_moe_lite": {"dense_layer_interval": 3, "num_layers": 5, "rope": YARN},
}
TOKENS = torch.randint(0, 320, (2, 40), generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("model_type", PATTERNS)
def test_transformers_loads_the_folder_and_gives_the_checkpoints_logits(make_model, export_model, model_type, tmp_path):
    model = make_model(**PATTERNS[model_type])
    folder, counts = export_model(model)
    assert counts["model_type"] == model_type
    assert counts["parity"]["largest_difference"] <= 1e-5
    expected = model(TOKENS)

    loaded, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    layers = model.settings.num_layers
    beyond = tuple(f"model.layers.{layer}." for layer in (layers, layers + 1))  # the MTP modules
    assert all(key.startswith(beyond) for key in report["unexpected_keys"])
    assert type(loaded).__module__.startswith("transformers.models.")
    assert (loaded(TOKENS).logits - expected).abs().max() <= 1e-5

    loaded.save_pretrained(tmp_path / "again")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    assert torch.equal(again(TOKENS).logits, loaded(TOKENS).logits)


def test_the_mtp_module_is_the_one_that_transformers_drafts_with(make_model, export_model):
    # transformers looks for MTP weights at the layer number of DeepSeek-V3 itself
    model = make_model(num_layers=61, mtp_depth=1, first_k_dense=3, hidden_size=16, intermediate_size=16)
    folder, _ = export_model(model)
    main = AutoModelForCausalLM.from_pretrained(folder).eval()
    mtp = MtpModel.from_pretrained(main).eval()
    tokens = TOKENS[:, :20]
    scores = model.scores(torch.cat([tokens, TOKENS[:, 20:22]], 1), pad_id=-1)

    with torch.no_grad():
        hidden = main.model(tokens).last_hidden_state
        positions = torch.arange(20).unsqueeze(0)
        drafted = mtp.forward_layer(0, hidden, positions, None, input_ids=TOKENS[:, 1:21])
        logits = mtp._project_to_logits(drafted)
    assert torch.equal(logits.argmax(-1) == TOKENS[:, 2:22], scores.mtp_correct[0])
    losses = model.losses(torch.cat([tokens, TOKENS[:, 20:22]], 1), pad_id=-1)
    theirs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), TOKENS[:, 2:22].flatten())
    assert losses.mtp[0].item() == pytest.approx(theirs.item(), rel=1e-5)


def test_the_tokenizer_loads_and_encodes_as_it_was_trained(make_model, export_model, workshop):
    folder, _ = export_model(make_model())
    loaded = AutoTokenizer.from_pretrained(folder)
    original = Tokenizer.from_file(str(workshop.results / "tokenizer/tokenizer.json"))
    for text in ("def f(x):\n    return x", "naïve  €12345 \U0001f600", "", "a<｜end▁of▁sentence｜>b"):
        assert loaded(text).input_ids == original.encode(text).ids
        assert loaded.decode(loaded(text).input_ids) == text
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (0, 1, 2)
    assert loaded.decode([1, 70, 2], skip_special_tokens=True) == original.decode([70])
    assert loaded.model_max_length == 64


def test_config_names_the_special_ids_everywhere(make_model, export_model):
    folder, _ = export_model(make_model())
    for name in ("config.json", "generation_config.json"):
        found = json.loads((folder / name).read_text())
        assert (found["bos_token_id"], found["eos_token_id"], found["pad_token_id"]) == (0, 1, 2)


def test_bfloat16_halves_the_weights_and_keeps_router_biases(make_model, export_model):
    model = make_model()
    folder, counts = export_model(model, dtype="bfloat16")
    assert counts["parity"]["largest_difference"] <= 1e-5  # against the rounded weights
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.dtype == torch.bfloat16
    bias = loaded.model.layers[1].mlp.gate.e_score_correction_bias
    assert bias.dtype == torch.float32
    assert torch.equal(bias, model.layers["1"].mlp.e_score_correction_bias)
    exact = model(TOKENS)
    assert ((loaded.float()(TOKENS).logits - exact).abs().mean() / exact.std()).item() < 0.1


def test_weights_are_cut_into_files_of_bounded_size_that_load_alike(make_model, export_model):
    model = make_model(hidden_size=256, vocab_size=1024)
    folder, counts = export_model(model, max_shard_bytes=1_500_000)
    files = sorted(folder.glob("model-*.safetensors"))
    assert counts["weight_files"] == len(files) > 3
    assert all(file.stat().st_size < 1_600_000 for file in files)  # and the header
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    held = {}
    for file in files:
        with safe_open(file, "pt") as opened:
            held |= dict.fromkeys(opened.keys(), file.name)
    assert index["weight_map"] == held
    assert (AutoModelForCausalLM.from_pretrained(folder)(TOKENS).logits - model(TOKENS)).abs().max() <= 1e-5


def test_the_same_checkpoint_gives_the_same_bytes(make_model, workshop):
    tokenizer = workshop.tokenizer()
    train = workshop.train(make_model(), tokenizer)
    first, _ = workshop.export(train, tokenizer)
    first = first.rename(first.with_name("first"))
    second, _ = workshop.export(train, tokenizer)
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_checkpoint_of_other_settings_is_refused_with_the_tensor(make_model, workshop):
    tokenizer = workshop.tokenizer()
    train = workshop.train(make_model(), tokenizer, settings=make_model(hidden_size=64).settings)
    with pytest.raises(ArtifactError, match=r"train/demo: model.safetensors is a checkpoint of other settings"):
        workshop.export(train, tokenizer)


def test_another_tokenizer_than_that_of_training_is_refused(make_model, workshop):
    tokenizer = workshop.tokenizer()
    train = workshop.train(make_model(), tokenizer)
    path = tokenizer.folder / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ArtifactError, match="made of another tokenizer"):
        workshop.export(train, workshop.artifact("tokenizer", "tokenizer"))


def test_a_tokenizer_larger_than_the_model_is_refused_with_both_sizes(make_model, export_model):
    with pytest.raises(ArtifactError, match=r"has 300 tokens, the model's vocab_size is 280"):
        export_model(make_model(vocab_size=280))


def test_softmax_scores_are_refused_with_the_key(make_model, export_model):
    with pytest.raises(SettingsError, match=r"model.moe.score: 'softmax'"):
        export_model(make_model(moe={"score": "softmax"}))
