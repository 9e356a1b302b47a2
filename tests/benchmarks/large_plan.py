"""Time and memory of a dry run with the Slurm profile for 2,500 raw files: `python tests/benchmarks/large_plan.py`.

Once with nothing made, once with the records of everything, as an earlier run leaves them.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "workflow")]

from synthetic import large_workspace, record_everything  # noqa: E402  # found by the line above
from workspace import Workspace, environment  # noqa: E402

REPEATS = 5


def measure(workspace: Workspace) -> tuple[float, int]:
    """Seconds and peak MiB of one dry run."""
    command = workspace.command("-n", "--quiet", "rules")
    command[command.index(str(ROOT / "profiles" / "local"))] = str(ROOT / "profiles" / "slurm")
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(ROOT))
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - begun, usage.ru_maxrss // 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        workspace = large_workspace(Path(folder))
        for state in ("nothing was made", "everything was made"):
            if state == "everything was made":
                record_everything(workspace)
            runs = [measure(workspace) for _ in range(REPEATS)]
            seconds, peak = min(run[0] for run in runs), max(run[1] for run in runs)
            print(f"{state}: {seconds:.1f} s (best of {REPEATS}), {peak} MiB at most")


if __name__ == "__main__":
    main()
