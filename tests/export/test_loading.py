"""Loading an exported folder strictly."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from pipeline.artifact.files import ArtifactError
from pipeline.export.load import load_exported


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
    with pytest.raises(ArtifactError, match=f"are not those of its config.json: {name} is missing, unknown"):
        load_exported(folder)


def test_loading_is_silent_and_leaves_transformers_logging_as_it_was(make_model, export_model, capfd):
    folder, _ = export_model(make_model())
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()
    load_exported(folder)
    assert "".join(capfd.readouterr()) == ""
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
