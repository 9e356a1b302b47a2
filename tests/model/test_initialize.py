"""Initial weights."""

import pytest
import torch

from pipeline.model.deepseek import DeepSeekV3
from pipeline.model.initialize import initialize


def test_a_model_built_on_the_meta_device_equals_one_built_directly(make_settings):
    settings = make_settings()
    direct = DeepSeekV3(settings)
    initialize(direct, settings, seed=4)
    with torch.device("meta"):
        later = DeepSeekV3(settings)
    later.to_empty(device="cpu")
    for tensor in (*later.parameters(), *later.buffers()):
        tensor.data.fill_(99)  # what memory may hold
    initialize(later, settings, seed=4)
    for name, tensor in direct.state_dict().items():
        assert torch.equal(later.state_dict()[name], tensor), name
    tokens = torch.randint(0, 96, (2, 20))
    assert torch.equal(direct.train()(tokens), later.train()(tokens))
    for ours, theirs in zip(later.buffers(), direct.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_weights_are_normal_with_the_settings_deviation_and_norms_are_one(make_settings):
    settings = make_settings({"init_std": 0.02})
    model = DeepSeekV3(settings)
    initialize(model, settings, seed=0)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.15), name


def test_the_seed_decides_and_a_part_of_the_model_gets_the_weights_of_the_whole(make_settings):
    whole, short = make_settings(), make_settings({"num_layers": 2, "mtp_depth": 0})
    models = {}
    for key, settings, seed in (("whole", whole, 1), ("short", short, 1), ("other", short, 2)):
        models[key] = DeepSeekV3(settings)
        initialize(models[key], settings, seed)
    for name, parameter in models["short"].named_parameters():
        assert torch.equal(parameter, models["whole"].state_dict()[name]), name
    assert not torch.equal(models["short"].lm_head.weight, models["other"].lm_head.weight)
