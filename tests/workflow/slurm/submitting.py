"""A workspace whose steps are jobs of a real Slurm."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import yaml
from cluster import Cluster
from workspace import CONFIG, ROOT, STAGE, Workspace, environment

HERE = Path(__file__).resolve().parent
ON_CPUS: dict[str, Any] = {"device": "cpu", "threads": 1}


class Submitting(Workspace):
    """Runs the repository's workflow with profiles/slurm on a cluster."""

    def __init__(self, folder: Path, cluster: Cluster, root: Path = ROOT) -> None:
        super().__init__(folder, root)
        self.cluster = cluster
        self.profile = root / "profiles" / "slurm"

    @classmethod
    def make(cls, folder: Path, cluster: Cluster, **stage: Any) -> Self:
        """A new project of one small stage, trained on CPUs where `stage` says nothing else."""
        (folder / "config" / "stages").mkdir(parents=True)
        workspace = cls(folder, cluster)
        workspace.write(CONFIG, small_stage(**stage))
        return workspace

    @classmethod
    def take(cls, finished: Workspace, folder: Path, cluster: Cluster, **stage: Any) -> Self:
        """A copy of a finished project whose training and what follows are still to be done."""
        shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns(".snakemake", "logs", ".locks"))
        for name in ("train", "evaluate", "export", "ladder", "report"):
            shutil.rmtree(folder / "results" / name)
        workspace = cls(folder, cluster)
        workspace.write(CONFIG, small_stage(**stage))
        return workspace

    def set_profile(self, **default_resources: Any) -> None:
        """Use a copy of the profile with other names or limits of the cluster, as a user's."""
        profile = yaml.safe_load((self.root / "profiles/slurm/config.yaml").read_text())
        profile["default-resources"].update(default_resources)
        self.profile = self.folder / "profile"
        self.profile.mkdir(exist_ok=True)
        (self.profile / "config.yaml").write_text(yaml.safe_dump(profile))

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable, str(HERE / "fast_polling.py"), "--snakefile", str(self.root / "workflow" / "Snakefile"),
            "--profile", str(self.profile), "--directory", str(self.folder),
            "--configfile", str(self.folder / "config.yaml"), *arguments,
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        return self.cluster.environment(environment(self.root))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment(),
            start_new_session=True,
        )

    def jobs(self, rule: str = "") -> list[dict[str, str]]:
        """The jobs of this project, of one rule or of all, oldest first."""
        wanted = rf"rule_{rule}(_wildcards_.*)?" if rule else ".*"
        found = [job for job in self.cluster.jobs() if job["WorkDir"] == str(self.folder)]
        return sorted((job for job in found if re.fullmatch(wanted, job["Comment"])), key=lambda job: int(job["JobId"]))

    def running(self, rule: str, seconds: float = 60) -> dict[str, str]:
        """The job of a rule, once it runs."""

        def found() -> bool:
            return any(job["JobState"] == "RUNNING" for job in self.jobs(rule))

        self.cluster.until(found, seconds, f"a job of {rule} runs")
        return next(job for job in self.jobs(rule) if job["JobState"] == "RUNNING")


def small_stage(**sections: Any) -> dict[str, Any]:
    """The small stage, with other keys in some of its sections."""
    stage = {**STAGE, "distributed": ON_CPUS}
    return {**stage, **{name: {**stage.get(name, {}), **keys} for name, keys in sections.items()}}
