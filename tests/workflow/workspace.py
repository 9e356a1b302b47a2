"""Real runs of the whole workflow on a small stage: Snakemake, its rules, every step."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from pipeline.artifact.manifest import MANIFEST, RECORD

ROOT = Path(__file__).resolve().parents[2]

CONFIG: dict[str, Any] = {
    "corpus": "embedded",
    "corpus_bytes": 400_000,
    "domains": {"python_code": {"weight": 0.5}, "docstrings": {"weight": 0.3}, "language_reference": {"weight": 0.2}},
    "validation": {"fraction": 0.15},
    "tokenizer": {"vocab_size": 512, "sample_bytes": 100_000},
    "stages": ["small"],
}
STAGE: dict[str, Any] = {
    "model": {
        "vocab_size": 512,
        "hidden_size": 32,
        "num_layers": 3,
        "intermediate_size": 64,
        "mtp_depth": 1,
        "dense_layer_interval": 2,
        "max_position_embeddings": 32,
        "init_std": 0.02,
        "dropout": 0.1,
        "mla": {
            "num_heads": 2,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
        },
        "moe": {"num_experts": 4, "top_k": 2, "intermediate_size": 24, "bias_update_speed": 0.01},
    },
    "data": {"seq_len": 32, "shard_tokens": 4096, "validation_rows": 8, "on_shortage": "redistribute"},
    "training": {
        "total_tokens": 16384,
        "global_batch_size": 8,
        "micro_batch_size": 4,
        "lr": 0.004,
        "schedule": {"warmup_tokens": 1024},
        "checkpoints": {"interval_steps": 4, "keep_last": 2},
    },
    "evaluation": {"interval_steps": 8, "interval_rows": 2, "batch_rows": 8},
}


class Workspace:
    """A folder with a configuration of its own, in which the repository's workflow runs."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.folder = folder
        self.root = root
        self.results = folder / "results"

    @classmethod
    def create(cls, folder: Path, config: dict[str, Any] = CONFIG, stage: dict[str, Any] = STAGE) -> "Workspace":
        (folder / "config" / "stages").mkdir(parents=True)
        workspace = cls(folder)
        workspace.write(config, stage)
        return workspace

    def write(self, config: dict[str, Any], stage: dict[str, Any], **stages: dict[str, Any]) -> None:
        """Write the configuration and the stages' files: that of `small`, and others by name."""
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        for name, content in {"small": stage, **stages}.items():
            (self.folder / "config" / "stages" / f"{name}.json").write_text(json.dumps(content))

    def tool(self, *arguments: str) -> str:
        """Run a tool of the command line on this configuration and return what it printed."""
        return self.tool_without_configuration(*arguments, "--configfile", str(self.folder / "config.yaml"))

    def tool_without_configuration(self, *arguments: str) -> str:
        """Run a tool that looks at artifacts only."""
        command = [sys.executable, "-m", "pipeline", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment(self.root), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def copy(self, folder: Path) -> "Workspace":
        """The same state in another place, Snakemake's notes included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workspace(folder, self.root)

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable, "-m", "snakemake", "--snakefile", str(self.root / "workflow" / "Snakefile"),
            "--profile", str(self.root / "profiles" / "local"), "--directory", str(self.folder),
            "--configfile", str(self.folder / "config.yaml"), *arguments,
        ]  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a run in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(self.root),
            start_new_session=True,
        )

    def run(self, *arguments: str, fails: bool = False) -> str:
        """Run to the end and return what was printed; it must succeed, or fail if `fails`."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=600)
        assert (process.returncode != 0) == fails, output
        return output

    def folder_of(self, artifact: str) -> Path:
        return self.results / artifact

    def artifacts(self) -> list[str]:
        """The names of the artifacts that are there."""
        return sorted(str(path.parent.relative_to(self.results)) for path in self.results.rglob(RECORD))

    def contents(self) -> dict[str, dict[str, str]]:
        """The SHA-256 of every artifact's files, as measured now."""
        from pipeline.artifact.files import sha256_of
        from pipeline.artifact.manifest import read_manifest

        found = {}
        for name in self.artifacts():
            manifest = read_manifest(self.results / name / MANIFEST)
            found[name] = {entry.path: sha256_of(self.results / name / entry.path) for entry in manifest.files}
        return found

    def inodes(self) -> dict[Path, int]:
        """Which file stands under each name: a file that was made again has another inode."""
        return {path: path.stat().st_ino for path in self.results.rglob("*") if path.is_file() and _is_data(path)}


def _is_data(path: Path) -> bool:
    parts = path.parts
    return path.name not in (MANIFEST, RECORD) and not {"logs", "benchmarks", ".locks", "run"} & set(parts)


def environment(root: Path) -> dict[str, str]:
    """The environment of a user who installed the project."""
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    binaries = [str(Path(sys.executable).parent), os.environ["PATH"]]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PATH": os.pathsep.join(binaries),
        "OMP_NUM_THREADS": "1",
    }


def planned_artifacts(dry_run: str) -> set[str]:
    """The artifacts that a dry run with --printshellcmds would make."""
    return set(re.findall(rf"--output results/(\S+)/{MANIFEST}", dry_run))


def finished_rules(output: str) -> list[str]:
    """The rules whose jobs ran, in alphabetical order, without the target rule."""
    return sorted(rule for rule in re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", output) if rule != "all")


def kill(process: subprocess.Popen[str]) -> None:
    """Kill -9 an orchestrator and everything that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for(path_pattern: str, folder: Path, process: subprocess.Popen[str], seconds: float = 240) -> Path:
    """Wait until a file of this pattern appears below a folder while a process runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = next(folder.glob(path_pattern), None)
        if found is not None:
            return found
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    raise AssertionError(f"{path_pattern} did not appear")
