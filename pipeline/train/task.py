"""What the processes of an attempt are told, by who starts them: a file in a folder of the attempt's own.

Of its own, for on a network file system a name that was gone a moment ago may still look so on another node.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import write_atomic
from pipeline.artifact.manifest import MANIFEST
from pipeline.artifact.publish import WORKING
from pipeline.settings.distributed import DistributedSettings
from pipeline.settings.training import TrainStep

LAUNCH = "launch-"
"""How the folder of an attempt of several processes is called, below the run's."""
TASK = "task.json"
STOP = "stop"
"""The file beside it that asks to stop: the number of a signal."""


@dataclass(frozen=True)
class Task:
    """One attempt at a stage."""

    settings: TrainStep
    build: Build
    job_end: float | None
    """When the Slurm job's time is over, in seconds since 1970; None outside one."""

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.build.folder / WORKING

    @property
    def layout(self) -> DistributedSettings:
        """The processes of the attempt."""
        return DistributedSettings.parse(self.build.execution.get("distributed", {}), "distributed")

    @property
    def threads(self) -> int:
        """CPU threads of each process: those of the rule, shared out on its node."""
        return self.layout.threads or max(1, self.build.workers // self.layout.processes_a_node)

    def write(self) -> Path:
        """Write it where every process can read it, in place of those of earlier attempts. Returns the path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for earlier in self.folder.glob(f"{LAUNCH}*"):
            shutil.rmtree(earlier)
        build = self.build
        plain = {
            "settings": self.settings.model_dump(mode="json", by_alias=True),
            "folder": str(build.folder),
            "inputs": {role: [str(one.folder) for one in found] for role, found in build.inputs.items()},
            "execution": dict(build.execution),
            "code": build.code,
            "kept": sorted(build.kept),
            "job_end": self.job_end,
        }
        path = Path(tempfile.mkdtemp(prefix=LAUNCH, dir=self.folder)) / TASK
        write_atomic(path, json.dumps(plain))
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        plain = json.loads(path.read_text(encoding="utf-8"))
        build = Build(
            folder=Path(plain["folder"]),
            inputs={role: _artifacts(folders) for role, folders in plain["inputs"].items()},
            execution=plain["execution"],
            code=plain["code"],
            kept=frozenset(plain["kept"]),
        )
        return cls(TrainStep.parse(plain["settings"]), build, plain["job_end"])


def _artifacts(folders: list[str]) -> tuple[Artifact, ...]:
    return tuple(Artifact.open(Path(folder) / MANIFEST) for folder in folders)
