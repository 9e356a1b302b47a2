"""Asked to stop."""

import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.train.signals import LOOK_SECONDS, STOPPING, WALL_TIME, Stopped, StopRequest


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_is_noted_and_the_usual_handler_comes_back(number: signal.Signals) -> None:
    before = {one: signal.getsignal(one) for one in STOPPING}
    with StopRequest() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal == number
        assert signal.getsignal(number) == before[number], "a second one acts as usual"
    assert {one: signal.getsignal(one) for one in STOPPING} == before


def test_a_second_interrupt_interrupts() -> None:
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs without it
    try:
        with StopRequest():
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, usual)


def test_the_exit_code_is_that_of_the_signal() -> None:
    stopped = Stopped(signal.SIGTERM, 12)
    assert stopped.code == 143
    assert stopped.message == "stopped by SIGTERM after step 12; saved. Run the same command to continue"
    assert "after step 12; not saved" in Stopped(signal.SIGTERM, 12, saved=False).message
    in_time = Stopped(WALL_TIME, 12)
    assert in_time.code == 75
    assert in_time.message.startswith("stopped before its wall time after step 12; saved")


def test_what_another_process_noted_in_the_file_counts_too(tmp_path: Path) -> None:
    stop = StopRequest(tmp_path / "stop")
    assert stop.reason() == 0
    (tmp_path / "stop").write_text("10")
    time.sleep(LOOK_SECONDS)
    assert stop.reason() == signal.SIGUSR1
    assert StopRequest().reason() == 0
