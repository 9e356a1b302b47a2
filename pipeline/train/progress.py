"""How far training is, on a terminal as a bar and in a log as a line now and then."""

import sys
import time
from datetime import timedelta

from tqdm import tqdm

LINE_SECONDS = 10.0


class Progress:
    """Shows steps done, loss, tokens a second, model-FLOPs utilisation and the time left."""

    def __init__(self, name: str, steps: int, first_step: int) -> None:
        self._name = name
        self._steps = steps
        self._first = first_step
        self._started = self._shown = time.monotonic()
        self._bar = tqdm(total=steps, initial=first_step, desc=name, unit="step") if sys.stderr.isatty() else None

    def show(self, step: int, loss: float, tokens_per_second: float, mfu: float) -> None:
        """Report a step that is done."""
        figures = f"loss {loss:.3f}, {tokens_per_second:,.0f} tokens/s, MFU {mfu:.0%}"
        if self._bar is not None:
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update(step - self._bar.n)
        elif time.monotonic() - self._shown >= LINE_SECONDS or step == self._steps:
            self._shown = time.monotonic()
            self.say(f"step {step}/{self._steps}, {figures}, {self._left(step)} left")

    def say(self, text: str) -> None:
        """Write a line without breaking the bar."""
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
