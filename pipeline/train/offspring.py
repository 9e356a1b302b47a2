"""Processes that do not outlive the one that started them, however that one dies."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence

from pipeline.train.signals import STOPPING

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends to a process when its parent dies."""


def start(command: Sequence[str], death: signal.Signals = signal.SIGKILL, **options: object) -> subprocess.Popen[bytes]:
    """Start a program that gets the signal `death` when this process is gone, even by SIGKILL.

    At first it ignores what asks training to stop, so that it can get ready for that. Call it from the main thread,
    whose end counts as that of the process.
    """
    libc = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(death))
        if os.getppid() != parent:  # it died before
            os._exit(1)
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    return subprocess.Popen(command, preexec_fn=prepare, **options)  # type: ignore[call-overload, no-any-return]
