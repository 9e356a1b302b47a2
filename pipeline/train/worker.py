"""One of the processes that train together: `python -m pipeline.train.worker TASK`.

Its environment is that of torchrun: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT. How it ended stands
beside its task.
"""

import os
import signal
import sys
from pathlib import Path

from pipeline.artifact.files import ArtifactError
from pipeline.settings.base import SettingsError
from pipeline.train.outcome import LOST_OTHERS, write_error, write_outcome
from pipeline.train.signals import STOPPING, Stopped, StopRequest
from pipeline.train.task import STOP, Task


def main(path: Path) -> int:
    """Train as one replica. Returns the exit code: 0 also where it was asked to stop and all of them did."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)  # who started it ignores them
    with StopRequest(path.parent / STOP) as stop:
        try:
            return _train(path, stop)
        except (SettingsError, ArtifactError, OSError) as error:
            write_error(path.parent, error)
            return 1


def _train(path: Path, stop: StopRequest) -> int:
    task = Task.read(path)
    from pipeline.train.attempt import train_together  # with torch, which takes seconds: signals are noted before
    from pipeline.train.replicas import ReplicaLost

    is_first = os.environ["RANK"] == "0"
    try:
        counts = train_together(task, stop)
    except Stopped as stopped:
        if is_first:
            write_outcome(path.parent, "stopped", reason=stopped.reason, step=stopped.step, saved=stopped.saved)
        return 0
    except ReplicaLost as lost:
        print(f"train: {lost}", file=sys.stderr, flush=True)
        return LOST_OTHERS
    if is_first:
        write_outcome(path.parent, "done", counts=counts)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
