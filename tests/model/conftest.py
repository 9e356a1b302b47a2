"""Small models and their transformers counterparts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.model.deepseek import DeepSeekV3
from pipeline.model.initialize import initialize
from pipeline.settings.model import ModelSettings


def small(changes: dict[str, Any] | None = None) -> ModelSettings:
    """A model of every part in miniature; `changes` are top-level keys, or sections to merge."""
    data: dict[str, Any] = {
        "vocab_size": 96,
        "hidden_size": 48,
        "num_layers": 4,
        "intermediate_size": 80,
        "mtp_depth": 2,
        "max_position_embeddings": 64,
        "init_std": 0.08,
        "mla": {
            "num_heads": 3,
            "q_lora_rank": 32,
            "kv_lora_rank": 24,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 8,
            "v_head_dim": 12,
        },
        "moe": {"num_experts": 8, "top_k": 3, "num_groups": 4, "top_k_groups": 2, "intermediate_size": 24},
    }
    for key, value in (changes or {}).items():
        data[key] = data.get(key, {}) | value if isinstance(value, dict) else value
    return ModelSettings.parse(data)


def random_model(settings: ModelSettings, seed: int = 0) -> DeepSeekV3:
    """A model with random weights, norms and router biases."""
    model = DeepSeekV3(settings)
    initialize(model, settings, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("norm.weight") or "layernorm" in name:
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
            elif name.endswith("bias"):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model


@pytest.fixture
def make_settings() -> Callable[..., ModelSettings]:
    """Make settings of a small model."""
    return small


@pytest.fixture
def make_model() -> Callable[..., DeepSeekV3]:
    """Make a small model with random weights, norms and biases: `make_model(changes, seed=0)`."""
    return lambda changes=None, seed=0: random_model(small(changes), seed)


@pytest.fixture
def rows() -> torch.Tensor:
    """Rows for MTP depth 2: [2, 16 + 3], the second padded with 2 at its end."""
    tokens = torch.randint(6, 96, (2, 19), generator=torch.Generator().manual_seed(7))
    tokens[1, 13:] = 2
    return tokens
