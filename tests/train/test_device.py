"""In which precision a stage computes, and how fast."""

import time

import pytest
import torch

from pipeline.evaluate.device import choose_device
from pipeline.settings.base import SettingsError
from pipeline.settings.training import TrainingSettings
from pipeline.train.device import compute_dtype, peak_flops

CPU = torch.device("cpu")


def _training(use_bf16: bool) -> TrainingSettings:
    return TrainingSettings.parse({"total_tokens": 64, "global_batch_size": 1, "lr": 0.1, "use_bf16": use_bf16})


def test_bf16_on_a_cpu_is_refused() -> None:
    assert compute_dtype(_training(False), CPU) == torch.float32
    with pytest.raises(SettingsError, match=r"training\.use_bf16: true: .* write false"):
        compute_dtype(_training(True), CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch shows no GPU")
def test_a_gpu_computes_in_bf16() -> None:
    device = choose_device("auto")
    assert compute_dtype(_training(True), device) == torch.bfloat16
    assert peak_flops(device, torch.bfloat16) > 1e13


def test_the_best_rate_is_measured_in_half_a_second_and_no_product_beats_it() -> None:
    start = time.perf_counter()
    best = peak_flops(CPU, torch.float32)
    assert time.perf_counter() - start < 1.5
    a = torch.ones(512, 512)
    times = []
    for _ in range(20):
        begin = time.perf_counter()
        torch.mm(a, a)
        times.append(time.perf_counter() - begin)
    assert 2 * 512**3 / sorted(times)[10] < 1.3 * best
