"""The processes that train together: each a whole replica of the model, on rows of its own."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from pipeline.train.outcome import TrainingError

BUCKET_ELEMENTS = 1 << 25
"""Gradients are summed so many at a time (128 MiB in fp32): few messages, and little memory besides."""
TIMEOUT = timedelta(hours=1)
"""How long a process waits for the others, of which the first may be validating or saving."""


class ReplicaLost(RuntimeError):
    """Another process cannot be reached any more. That one knows why."""


class Replicas:
    """The place of this process among all of them. Alone, it has nothing to send, and every method is the identity."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank = rank
        self.size = size
        self._device = device or torch.device("cpu")
        """Where tensors must be to be sent: the GPU with nccl, the CPU with gloo."""

    @property
    def is_first(self) -> bool:
        """Whether this is the one process that writes."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of all replicas' tensors, the same bits in each."""
        if self.size == 1:
            return tensor
        summed = tensor.to(self._device, copy=True)
        with _reaching(self.rank):
            dist.all_reduce(summed)
        return summed.to(tensor.device)

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over all replicas."""
        if self.size == 1:
            return
        for gradients in _buckets([_gradient(parameter) for parameter in parameters]):
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            with _reaching(self.rank):
                dist.all_reduce(flat)
            parts = torch.split(flat, [gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def largest(self, number: int) -> int:
        """The largest of all replicas' numbers."""
        if self.size == 1:
            return number
        found = torch.tensor(number, device=self._device)
        with _reaching(self.rank):
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def agree(self, flag: bool) -> bool:
        """Whether any replica raised the flag: all of them then act alike."""
        return bool(self.largest(int(flag)))

    def gather(self, value: Any) -> list[Any]:
        """All replicas' values by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with _reaching(self.rank):
            dist.all_gather_object(found, value)
        return found

    def hear(self, value: Any) -> Any:
        """The value of the first replica."""
        if self.size == 1:
            return value
        told = [value]
        with _reaching(self.rank):
            dist.broadcast_object_list(told, src=0)
        return told[0]

    def require_equal(self, checksum: float, step: int) -> None:
        """Make sure that all replicas hold the same state, by a number made of it. Raises TrainingError in all."""
        checksums = self.gather(checksum)
        others = [str(rank) for rank, found in enumerate(checksums) if found != checksums[0]]
        if others:
            raise TrainingError(
                f"step {step}: the weights of process {', '.join(others)} differ from those of process 0, so nothing "
                "was saved; run the same command again to continue from the last checkpoint, and look for a faulty "
                "machine if it comes again"
            )


@contextmanager
def joined(device: torch.device) -> Iterator[Replicas]:
    """Meet the other processes, as the environment says (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT: torchrun's).

    Raises ReplicaLost where they cannot be reached; then nothing is closed, for that might wait for them.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with _reaching(rank):
        if device.type == "cuda":
            dist.init_process_group("nccl", timeout=TIMEOUT, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        yield Replicas(rank, size, device)
    except ReplicaLost:
        raise
    except BaseException:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    assert parameter.grad is not None, "every parameter takes part in every step"
    return parameter.grad


def _buckets(gradients: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    for gradient in gradients:
        if bucket and sum(one.numel() for one in bucket) + gradient.numel() > BUCKET_ELEMENTS:
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


@contextmanager
def _reaching(rank: int) -> Iterator[None]:
    """Tell a broken connection from other errors: it is the consequence of what befell another process."""
    try:
        yield
    except RuntimeError as error:  # gloo raises no narrower one
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ReplicaLost(f"process {rank} lost the others ({reason})") from error
