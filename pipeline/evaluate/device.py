"""What a model computes on."""

import torch

from pipeline.settings.base import SettingsError


def choose_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`. Raises SettingsError if a GPU is demanded and there is none."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingsError("distributed.device: 'cuda': this machine shows no GPU to torch; write 'auto' or 'cpu'")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())
