"""Loading an exported folder strictly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from pipeline.artifact.files import ArtifactError
from pipeline.export.load import load_exported

ROOT = Path(__file__).resolve().parents[2]


def rewrite_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal_of_generate(folder):
    """What the command says on its standard error, in a sentence."""
    command = [sys.executable, "-m", "pipeline", "generate", str(folder), "def "]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: ")
    return done.stderr


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_weights_that_the_configuration_does_not_ask_for_are_refused_by_name(make_model, export_model, change):
    folder, _ = export_model(make_model())
    tensors = load_file(folder / "model.safetensors")
    if change == "missing":
        name = "model.layers.2.self_attn.o_proj.weight"
        del tensors[name]
    else:
        name = "model.layers.2.self_attn.sink.weight"
        tensors[name] = torch.ones(3)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=f"are not those of its config.json: {name} is missing or unknown"):
        load_exported(folder)


@pytest.mark.parametrize("model_type", ["deepseek_v3", "of_its_own"])
def test_code_in_the_folder_is_never_run(make_model, export_model, tmp_path, model_type):
    folder, _ = export_model(make_model())
    ran = tmp_path / "ran"
    (folder / "own_code.py").write_text(
        f"open({str(ran)!r}, 'w').close()\n"
        "from transformers import DeepseekV3Config, DeepseekV3ForCausalLM\n"
        f"class OwnConfig(DeepseekV3Config):\n    model_type = {model_type!r}\n"
        "class OwnModel(DeepseekV3ForCausalLM):\n    config_class = OwnConfig\n"
    )
    auto_map = {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnModel"}
    rewrite_config(folder, model_type=model_type, auto_map=auto_map)
    refusal = refusal_of_generate(folder)
    assert "auto_map" in refusal if model_type == "deepseek_v3" else "its model_type is 'of_its_own'" in refusal
    assert not ran.exists()


def test_pickled_weights_are_never_opened(make_model, export_model, tmp_path):
    folder, _ = export_model(make_model())
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    refusal = refusal_of_generate(folder)
    assert f"{folder} cannot be loaded: " in refusal
    assert "model.safetensors" in refusal


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_size": 56}, "cannot be loaded"),
        ({"hidden_size": "wide"}, "cannot be loaded: .*'wide'"),
        ({"model_type": ["deepseek_v3"]}, r"its model_type is \['deepseek_v3'\]"),
    ],
)
def test_a_configuration_of_other_weights_is_refused(make_model, export_model, changes, reason):
    folder, _ = export_model(make_model())
    rewrite_config(folder, **changes)
    with pytest.raises(ArtifactError, match=reason):
        load_exported(folder)


@pytest.mark.parametrize(("text", "reason"), [("{", "is no JSON"), ("[]", "its model_type is None")])
def test_a_configuration_that_is_none_is_refused(make_model, export_model, text, reason):
    folder, _ = export_model(make_model())
    (folder / "config.json").write_text(text)
    with pytest.raises(ArtifactError, match=reason):
        load_exported(folder)


def test_damaged_weights_are_refused(make_model, export_model):
    folder, _ = export_model(make_model())
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        load_exported(folder)


def test_loading_is_silent_and_leaves_transformers_logging_as_it_was(make_model, export_model, capfd):
    folder, _ = export_model(make_model())
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()
    load_exported(folder)
    assert "".join(capfd.readouterr()) == ""
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
