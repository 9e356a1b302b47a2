"""Batches of rows, read ahead by a thread while the model computes."""

import queue
import threading
from collections.abc import Iterator

import numpy as np

from pipeline.shards.rows import Rows

Item = tuple[int, np.ndarray] | BaseException | None


def batches(
    rows: Rows, first_sample: int, global_batch: int, ahead: int = 2, part: int = 0, parts: int = 1
) -> Iterator[tuple[int, np.ndarray]]:
    """Give the global batches from sample `first_sample` on: each one's first sample, and int64 [samples, width].

    Of each batch only the given one of `parts` equal, contiguous parts is read. Ends before a batch that would not be
    full. At most `ahead` batches wait. Raises in the caller what reading raises.
    """
    count = global_batch // parts
    ready: queue.Queue[Item] = queue.Queue(maxsize=ahead)
    stop = threading.Event()

    def offer(item: Item) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for first in range(first_sample, len(rows) - global_batch + 1, global_batch):
                if not offer((first, rows.read(first + part * count, count))):
                    return
            offer(None)
        except BaseException as error:  # handed on to the thread that asked
            offer(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
