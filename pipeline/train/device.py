"""In which precision a stage computes, and how fast that could be at best."""

import time

import torch

from pipeline.settings.base import SettingsError
from pipeline.settings.training import TrainingSettings

DENSE_BF16_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "B200": 2250e12}
"""Peak dense bf16 FLOP/s by GPU, from NVIDIA's data sheets (H100, H200: SXM)."""

MEASURING_SECONDS = 0.4
"""Time that a measurement of the best rate takes."""


def compute_dtype(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    """The type of matrix products. Raises SettingsError for bf16 on a CPU, where it is slower than fp32."""
    if settings.use_bf16 and device.type == "cpu":
        raise SettingsError("training.use_bf16: true: on a CPU bf16 is slower than fp32; write false")
    return torch.bfloat16 if settings.use_bf16 else torch.float32


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s that a model-FLOPs utilisation is measured against.

    The data sheet's for known GPUs in bf16, else the rate of a large matrix product measured here and now.
    """
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        known = [flops for gpu, flops in DENSE_BF16_FLOPS.items() if gpu in name]
        if known:
            return known[0]
    return _matmul_flops(device, dtype)


def _matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """The best of many products: other work on the machine only ever makes one slower."""
    size = 1024 if device.type == "cpu" else 8192
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    begin = time.perf_counter()
    while time.perf_counter() - begin < MEASURING_SECONDS:
        _wait(device)
        start = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
