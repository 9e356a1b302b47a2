"""The parity check finds what is wrong."""

import json

import pytest
import torch

from pipeline.artifact.files import ArtifactError
from pipeline.export.parity import check_parity


@pytest.mark.parametrize(
    ("key", "value"),
    [("n_group", 1), ("routed_scaling_factor", 2.4), ("norm_topk_prob", False), ("rms_norm_eps", 1e-3)],
)
def test_a_wrong_key_of_the_configuration_fails_parity(make_model, export_model, key, value):
    model = make_model()
    folder, _ = export_model(model)
    config = json.loads((folder / "config.json").read_text())
    assert config[key] != value
    config |= {key: value, "topk_group": 1} if key == "n_group" else {key: value}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="the logits differ from the checkpoint's"):
        check_parity(folder, model)


def test_one_changed_weight_fails_parity(make_model, export_model):
    model = make_model()
    folder, _ = export_model(model)
    with torch.no_grad():
        model.layers["3"].mlp.experts.down_proj[2, 0, 0] += 0.05
    with pytest.raises(ArtifactError, match="the logits differ from the checkpoint's"):
        check_parity(folder, model)
