"""One program that runs in the background until it is stopped, its words in a log file."""

import subprocess
from collections.abc import Mapping
from pathlib import Path


class Daemon:
    """A program kept in the foreground by its options, so that its process id is ours to stop."""

    def __init__(self, command: list[str], log: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt at the terminal is for the tests, which then stop it in order
            )

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def stop(self, seconds: float = 5) -> None:
        """Ask it to end, and end it if it does not."""
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def last_words(self, lines: int = 15) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"--- {self.log}", *text])
