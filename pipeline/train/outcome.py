"""How an attempt of several processes ended: a file beside their task, written by one, read by who started them."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.artifact.files import ArtifactError
from pipeline.settings.base import SettingsError
from pipeline.train.history import last_checkpoint
from pipeline.train.signals import Stopped

OUTCOME = "outcome.json"
LOST_OTHERS = 76
"""The exit code of a process that ends only because another one did (EX_PROTOCOL of sysexits.h)."""


class TrainingError(ArtifactError):
    """Training cannot go on. The message says at which step, why, and what to change."""


ERRORS: Mapping[str, type[ValueError]] = {kind.__name__: kind for kind in (SettingsError, ArtifactError, TrainingError)}
"""What a process may tell the user in a sentence."""


def write_outcome(folder: Path, kind: str, **details: Any) -> None:
    """Tell how the attempt ended. The first to tell is believed: what follows is a consequence."""
    try:
        with (folder / OUTCOME).open("x", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **details}))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        pass


def write_error(folder: Path, error: BaseException) -> None:
    """Tell an error that a user can mend."""
    if isinstance(error, OSError):
        write_outcome(folder, "OSError", errno=error.errno, strerror=error.strerror, filename=str(error.filename or ""))
    else:
        write_outcome(folder, type(error).__name__, message=str(error))


def write_death(folder: Path, rank: int, size: int, host: str, code: int) -> None:
    """Tell that a process ended without a word: `code` as `subprocess` gives it, negative for a signal."""
    write_outcome(folder, "died", rank=rank, size=size, host=host, code=code)


def result_of(folder: Path) -> dict[str, Any]:
    """The counts of an attempt that came to its end, from the folder of its task.

    Raises what ended it otherwise: SettingsError, ArtifactError, TrainingError, OSError, Stopped.
    """
    try:
        found = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise TrainingError(
            f"{folder.parent}: the processes that train ended, or lost each other, and the lines above may tell why; "
            f"{_way_out(folder)}"
        ) from None
    if found["kind"] == "done":
        return dict(found["counts"])
    if found["kind"] == "stopped":
        raise Stopped(found["reason"], found["step"], found["saved"])
    if found["kind"] == "died":
        raise TrainingError(
            f"process {found['rank']} of {found['size']} on {found['host']} {_how(folder, found['code'])}"
        )
    if found["kind"] == "OSError":
        raise OSError(found["errno"], found["strerror"], found["filename"] or str(folder))
    raise ERRORS[found["kind"]](found["message"])


def _how(folder: Path, code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}; the lines above tell why. Mend that, and {_way_out(folder)}"
    name = signal.Signals(-code).name
    why = " (probably out of memory)" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{why}; {_way_out(folder)}"


def _way_out(folder: Path) -> str:
    step = last_checkpoint(folder.parent)
    return f"run the same command again: it {f'continues after step {step}' if step else 'starts anew'}"
