"""How far training is, on a terminal as a bar and in a log as a line now and then."""

import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 10.0


class Progress:
    """Shows steps done, loss, tokens a second, model-FLOPs utilisation and the time left."""

    def __init__(self, name: str, steps: int, quiet: bool = False) -> None:
        """One of several replicas tells for all; the others are `quiet`."""
        self._name = name
        self._quiet = quiet
        self._steps = steps
        self._first = 0
        self._started = self._shown = time.monotonic()
        self._bar: tqdm[Any] | None = None

    def start(self, step: int, text: str) -> None:
        """Say what begins after a step, and count time from now on."""
        self.say(text)
        self._first = step
        self._started = self._shown = time.monotonic()
        if sys.stderr.isatty() and not self._quiet:
            self._bar = tqdm(total=self._steps, initial=step, desc=self._name, unit="step")

    def show(self, step: int, loss: float | None, tokens_per_second: float, mfu: float) -> None:
        """Report a step that is done; None is a loss that is not finite."""
        figures = (
            f"loss {'-' if loss is None else format(loss, '.3f')}, {tokens_per_second:,.0f} tokens/s, MFU {mfu:.0%}"
        )
        if self._bar is not None:
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update(step - self._bar.n)
        elif time.monotonic() - self._shown >= LINE_SECONDS or step == self._steps:
            self._shown = time.monotonic()
            self.say(f"step {step}/{self._steps}, {figures}, {self._left(step)} left")

    def say(self, text: str) -> None:
        """Write a line without breaking the bar."""
        if self._quiet:
            return
        with suppress(BrokenPipeError):  # Ctrl-C ends a `tee` at once; training still has to save
            tqdm.write(f"{self._name}: {text}", file=sys.stderr)
            sys.stderr.flush()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()

    def _left(self, step: int) -> str:
        elapsed = time.monotonic() - self._started
        seconds = elapsed / max(1, step - self._first) * (self._steps - step)
        return str(timedelta(seconds=round(seconds)))
