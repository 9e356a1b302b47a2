"""Asked to stop: finish the step, save, and leave so that the next attempt continues."""

import signal
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """Notes SIGTERM, SIGINT and SIGUSR1 while the block runs; a second one of a kind acts as usual."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        signal.signal(number, self._before[number])  # type: ignore[arg-type]


class Stopped(SystemExit):
    """Training was asked to stop and did. The exit code is that of the signal, as a shell gives it."""

    def __init__(self, asked: signal.Signals, step: int, saved: bool = True) -> None:
        """`saved` tells whether the state after the step was worth saving."""
        super().__init__(128 + asked)
        self.signal = asked
        self.step = step
        found = "saved" if saved else "not saved, as its state is not finite"
        self.message = f"stopped by {asked.name} after step {step}; {found}. Run the same command to continue"
