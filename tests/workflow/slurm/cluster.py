"""A real Slurm for the tests: its own munged, slurmctld and slurmd on this machine, beside any system service."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from configuration import write_configuration
from daemon import Daemon
from processes import kill_processes

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr", "sshare")
FIELD = re.compile(r"(?:^|(?<=\s))([A-Z][\w/:]*)=(.*?)(?=\s+[A-Z][\w/:]*=|\s*$)", re.MULTILINE)


class Cluster:
    """Nodes n1, n2, ... with 64 imaginary CPUs and 8 imaginary GPUs each, and the partitions cpu, gpu, low and high.

    A job of `high` sends a job of `low` back to the queue.
    """

    def __init__(self, folder: Path, nodes: int = 4) -> None:
        self.folder = folder
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.configuration = write_configuration(folder, self.nodes)
        self._daemons: dict[str, Daemon] = {}
        self._write_wrappers()

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def environment(self, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment of this cluster's user; what a Slurm around the tests set is left out."""
        own = {name: value for name, value in base.items() if not name.startswith(("SLURM", "SBATCH_", "SRUN_"))}
        path = os.pathsep.join([str(self.folder / "bin"), base["PATH"]])
        return {**own, "PATH": path, "SLURM_CONF": str(self.configuration)}

    def command(self, *arguments: str) -> str:
        """What a program of Slurm prints; it must succeed."""
        done = subprocess.run(arguments, env=self.environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{arguments}: {done.stderr}\n{self.last_words()}"
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """Submit a shell script and return its job's id; without a choice of yours its output goes nowhere."""
        place = ("--chdir", str(self.folder), "--output", os.devnull)
        return self.command("sbatch", "--parsable", *place, *options, "--wrap", script).strip()

    def jobs(self) -> list[dict[str, str]]:
        """Every job that Slurm still knows, the finished ones too, as `scontrol show job` describes it."""
        return _parse(self.command("scontrol", "show", "job", "--details"))

    def job(self, identifier: str) -> dict[str, str]:
        return _parse(self.command("scontrol", "show", "job", "--details", identifier))[0]

    def cancel(self, identifier: str) -> None:
        self.command("scancel", identifier)

    def wait(self, identifier: str, states: str | Collection[str], seconds: float = 30) -> dict[str, str]:
        """Wait until a job is in one of these states, and return the job."""
        wanted = {states} if isinstance(states, str) else set(states)
        self.until(lambda: self.job(identifier)["JobState"] in wanted, seconds, f"job {identifier} is {wanted}")
        return self.job(identifier)

    def until(self, condition: Callable[[], bool], seconds: float, meaning: str) -> None:
        """Wait until something is true, or fail with what Slurm said last."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {meaning}\n{self.last_words()}"
            time.sleep(0.2)

    def node_states(self) -> dict[str, str]:
        """Each node's state, such as idle, mixed, allocated or down."""
        lines = self.command("sinfo", "--noheader", "--Node", "--partition=cpu", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)

    def kill_node(self, name: str) -> None:
        """Lose a node: its daemon and every process of its jobs end at once, and nobody tells the controller."""
        self._daemons.pop(name).kill()
        spool = self.folder / "spool" / name  # where the node's daemon and its helpers work
        kill_processes(
            lambda variables, folder: (
                folder == spool or (self._owns(variables, folder) and variables.get("SLURMD_NODENAME") == name)
            )
        )

    def start_node(self, name: str) -> None:
        """Start a node's daemon, at first or again."""
        self._start_daemon(name, ["slurmd", "-D", "-N", name], self.folder / "spool" / name)

    def stop(self) -> None:
        """Stop the daemons, the controller before it can send a job to the next node, and kill what jobs left."""
        for name in ("slurmctld", *self.nodes, "munged"):
            if name in self._daemons:
                self._daemons[name].stop()
        kill_processes(self._owns)

    def last_words(self) -> str:
        """The ends of all daemons' logs."""
        return "\n".join(daemon.last_words() for daemon in self._daemons.values())

    def _owns(self, variables: Mapping[str, str], folder: Path) -> bool:
        """Whether a process is this cluster's; its PATH tells even where Snakemake took SLURM_CONF from it."""
        on_path = str(self.folder / "bin") in variables.get("PATH", "").split(os.pathsep)
        return on_path or variables.get("SLURM_CONF") == str(self.configuration) or folder.is_relative_to(self.folder)

    def _start(self) -> None:
        self._start_munged()
        self._start_daemon("slurmctld", ["slurmctld", "-D"], self.folder)
        for name in self.nodes:
            self.start_node(name)
        self.until(self._is_idle, 30, "all nodes are idle")

    def _start_munged(self) -> None:
        munge = self.folder / "munge"
        files = [f"--{kind}-file={munge / kind}" for kind in ("key", "pid", "seed")]
        socket = munge / "socket"
        # --force: munged doubts a folder below /tmp.
        command = ["munged", "--foreground", "--force", f"--socket={socket}", *files]
        self._start_daemon("munged", command, self.folder)
        self.until(socket.exists, 10, "munged listens")

    def _start_daemon(self, name: str, command: list[str], folder: Path) -> None:
        program = shutil.which(command[0], path=search_path())
        assert program is not None, f"{command[0]} is not installed"
        log = self.folder / "logs" / f"{name}.log"
        self._daemons[name] = Daemon([program, *command[1:]], log, folder, self.environment())

    def _is_idle(self) -> bool:
        ended = [name for name, daemon in self._daemons.items() if not daemon.runs]
        assert not ended, f"{ended} ended\n{self.last_words()}"
        if "Running as primary controller" not in self._daemons["slurmctld"].log.read_text(errors="replace"):
            return False  # a client would wait long for a controller that is not there
        return set(self.node_states().values()) == {"idle"}

    def _write_wrappers(self) -> None:
        """Programs that set SLURM_CONF themselves: Snakemake's jobstep takes it from the srun that it starts."""
        binaries = self.folder / "bin"
        binaries.mkdir()
        for name in CLIENTS:
            if program := shutil.which(name):
                wrapper = binaries / name
                wrapper.write_text(f'#!/bin/sh\nSLURM_CONF="{self.configuration}" exec {program} "$@"\n')
                wrapper.chmod(0o755)


def missing_programs() -> list[str]:
    """Slurm's programs that are not installed."""
    return [name for name in (*DAEMONS, *CLIENTS[:6]) if shutil.which(name, path=search_path()) is None]


def search_path() -> str:
    """Where programs are looked for: daemons often lie in a folder that is not on a user's path."""
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def _parse(text: str) -> list[dict[str, str]]:
    """The jobs in the output of `scontrol show job`, which keeps an empty line between two."""
    blocks = [dict(FIELD.findall(block)) for block in text.split("\n\n")]
    return [job for job in blocks if "JobId" in job]
