"""Asked to stop: finish the step, save, and leave so that the next attempt continues."""

import signal
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
WALL_TIME = 1
"""Why to stop, where no signal asked: the job's time is nearly over. Below all of them: a signal counts more."""
TRY_AGAIN = 75
"""The exit code where nothing failed and the same command continues: EX_TEMPFAIL of sysexits.h."""
LOOK_SECONDS = 1.0


class StopRequest:
    """Notes SIGTERM, SIGINT and SIGUSR1 while the block runs; a second one of a kind acts as usual.

    With a `file`, what another process noted counts too: it writes the signal's number there.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.signal: signal.Signals | None = None
        self._file = file
        self._next_look = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def reason(self) -> int:
        """The number of the signal to stop by; 0 for none. The file is looked at once a second at most."""
        if self.signal is None and self._file is not None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            if self._file.exists():
                self.signal = signal.Signals(int(self._file.read_text()))
        return self.signal or 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        signal.signal(number, self._before[number])  # type: ignore[arg-type]


class Stopped(SystemExit):
    """Training was asked to stop and did. The exit code is that of the signal, as a shell gives it."""

    def __init__(self, reason: int, step: int, saved: bool = True) -> None:
        """`reason` is a signal's number or WALL_TIME; `saved` tells whether the state was worth saving."""
        super().__init__(TRY_AGAIN if reason == WALL_TIME else 128 + reason)
        self.reason = reason
        self.step = step
        self.saved = saved
        found = "saved" if saved else "not saved, as its state is not finite"
        self.message = f"stopped {self.cause} after step {step}; {found}. Run the same command to continue"

    @property
    def cause(self) -> str:
        """What asked, for people."""
        return "before its wall time" if self.reason == WALL_TIME else f"by {signal.Signals(self.reason).name}"
