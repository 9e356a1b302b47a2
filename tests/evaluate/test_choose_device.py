"""What a model computes on."""

import pytest
import torch

from pipeline.evaluate.device import choose_device
from pipeline.settings.base import SettingsError


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(SettingsError, match=r"distributed\.device: 'cuda': .* write 'auto' or 'cpu'"):
        choose_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch shows no GPU")
def test_a_gpu_is_used_unless_the_cpu_is_asked_for() -> None:
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", torch.cuda.current_device())
    assert choose_device("cpu") == torch.device("cpu")
