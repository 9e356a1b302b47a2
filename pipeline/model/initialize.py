"""Initial weights (arXiv 2412.19437, section 4.2): normal everywhere, ones in the norms."""

import hashlib

import torch
from torch import Tensor, nn

from pipeline.model.norm import RMSNorm
from pipeline.settings.model import ModelSettings


@torch.no_grad()
def initialize(model: nn.Module, settings: ModelSettings, seed: int) -> None:
    """Give every parameter and buffer its initial value, in place.

    Works on a model that was built on the meta device and then emptied onto a real one. Each parameter has a random
    stream of its own, keyed by the seed and its name: neither the device nor the division of the model into parts
    changes the weights.
    """
    norms = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, RMSNorm)}
    for name, parameter in model.named_parameters():
        if name in norms:
            parameter.fill_(1.0)
        else:
            parameter.copy_(_normal(parameter.shape, settings.init_std, f"{seed}/{name}"))
    for buffer in model.buffers():
        buffer.zero_()  # the routers' biases and counts


def _normal(shape: torch.Size, std: float, key: str) -> Tensor:
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
    generator = torch.Generator("cpu").manual_seed(number)
    return torch.empty(shape, dtype=torch.float32).normal_(0.0, std, generator=generator)
