"""Kill the demo at random moments, again and again, and compare what comes out with a run that nothing disturbed.

    python tests/benchmarks/random_kills.py --kills 50

Each round starts the same command; after a random time something is killed with SIGKILL: Snakemake alone, a process of
a step, or everything at once. A demo that is finished is compared and begun anew, until there were so many kills; the
last one runs to its end. Every file of every artifact must be as in the undisturbed run, and none may be made twice.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "workflow")]

from workspace import Workspace, environment  # noqa: E402  # found by the line above

from pipeline.artifact.manifest import RECORD  # noqa: E402

VICTIMS = ("snakemake", "a step", "everything")


class Demo(Workspace):
    """The demo in a folder of its own."""

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"),
            "--profile", str(ROOT / "profiles" / "local"), "--directory", str(self.folder),
            "--configfile", str(ROOT / "config" / "demo.yaml"), *arguments,
        ]  # fmt: skip

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        with (self.folder / "output").open("a") as output:
            return subprocess.Popen(
                self.command(*arguments),
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment(ROOT),
                start_new_session=True,
            )

    def records(self) -> dict[str, int]:
        """Which record each artifact has: one that was made again has another."""
        return {
            str(path.parent): path.stat().st_ino for path in self.results.rglob(RECORD) if "building" not in str(path)
        }

    def compare(self, wanted: dict[str, dict[str, str]]) -> None:
        """Fail unless every file of every artifact is as it should be. The report tells times, which differ."""
        found = without_report(self.contents())
        assert found == wanted, sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))


def without_report(contents: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    return {name: files for name, files in contents.items() if not name.startswith("report/")}


def kill_something(process: "subprocess.Popen[str]", chance: random.Random) -> str | None:
    """Kill a victim. Returns what it was and which step was at work; None where there was none any more."""
    steps = [one for one in psutil.Process(process.pid).children(recursive=True) if step_of(one)]
    victim = chance.choice(VICTIMS)
    at_work = ", ".join(sorted({step_of(one) for one in steps})) or "between steps"
    if victim == "a step":
        if not steps:
            return None
        chance.choice(steps).kill()
    elif victim == "snakemake":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    return f"{victim} during {at_work}"


def step_of(process: psutil.Process) -> str:
    """The step that a process of the command line makes; empty for any other."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return ""
    return command[3] if command[1:3] == ["-m", "pipeline"] and len(command) > 3 else ""


def main(kills: int, seed: int, most_seconds: float) -> None:
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="random-kills-"))
    undisturbed, disturbed = Demo(folder / "undisturbed"), Demo(folder / "disturbed")
    for demo in (undisturbed, disturbed):
        demo.folder.mkdir()
    begun = time.monotonic()
    assert undisturbed.start().wait() == 0, (undisturbed.folder / "output").read_text()[-3000:]
    print(f"undisturbed: {time.monotonic() - begun:.0f} s", flush=True)
    wanted = without_report(undisturbed.contents())
    done: Counter[str] = Counter()
    finished = made_twice = 0
    seen: dict[str, int] = {}
    begun = time.monotonic()
    while True:
        process = disturbed.start()
        if sum(done.values()) < kills:
            try:
                process.wait(chance.uniform(1, most_seconds))
            except subprocess.TimeoutExpired:
                what = kill_something(process, chance)
                if what:
                    done[what] += 1
                    print(f"kill {sum(done.values())}: {what}", flush=True)
        code = process.wait()
        records = disturbed.records()
        made_twice += sum(records.get(name) != record for name, record in seen.items())
        seen = records
        if code == 0:
            disturbed.compare(wanted)
            finished += 1
            print(f"finished {finished}: equal to the undisturbed run", flush=True)
            if sum(done.values()) >= kills:
                break
            shutil.rmtree(disturbed.results)
            seen = {}
    seconds = time.monotonic() - begun
    print(f"{sum(done.values())} kills in {seconds:.0f} s; the demo finished {finished} times, each equal")
    print(f"artifacts that were made twice: {made_twice}")
    for what, count in sorted(done.items()):
        print(f"  {count:3} {what}")
    shutil.rmtree(folder)
    assert made_twice == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how many at least (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other moments")
    parser.add_argument(
        "--most-seconds", type=float, default=20.0, help="kill after so many seconds at most (default: 20)"
    )
    options = parser.parse_args()
    main(options.kills, options.seed, options.most_seconds)
