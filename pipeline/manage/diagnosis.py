"""What went wrong and what to do: for each failed job its step, the last lines of its log, and the way on."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.allocation import STATE_BYTES, stage_resources
from pipeline.artifact.manifest import MANIFEST
from pipeline.artifact.publish import WORKING, building_folder
from pipeline.graph import Graph
from pipeline.manage.words import bytes_in_words
from pipeline.model.count import parameters
from pipeline.train.history import last_checkpoint

LAST_LINES = 12
SHOWN_CHARACTERS = 400
TAIL_BYTES = 64 << 10
ERROR = re.compile(r"^\s*Error in (?:rule|group) .*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^\s*output: (.*)$", re.MULTILINE)
STATUS = re.compile(r"SLURM-job '(\d+)' failed, SLURM status is: '(\w+)")
MEMORY = re.compile(r"out of memory|SIGKILL|bad_alloc|MemoryError|oom.kill|Cannot allocate memory", re.IGNORECASE)
SENTENCE = re.compile(r"^Error: ", re.MULTILINE)
LOST = ("NODE_FAIL", "BOOT_FAIL")


@dataclass(frozen=True)
class Failure:
    """One artifact that a job failed to make."""

    name: str
    job: str = ""
    """The Slurm job, if it was one."""
    status: str = ""
    """How Slurm says that it ended, for instance TIMEOUT."""


def failures(log: str, graph: Graph) -> list[Failure]:
    """The last failure of each artifact, as Snakemake's log of a run tells them."""
    found: dict[str, Failure] = {}
    for block in ERROR.findall(log):
        told = STATUS.search(block)
        job, status = told.groups() if told else ("", "")
        for outputs in OUTPUT.findall(block):
            for path in outputs.split(", "):
                name = path.removesuffix(f"/{MANIFEST}").removeprefix(f"{graph.results}/")
                if path.endswith(f"/{MANIFEST}") and name in graph.nodes:
                    found[name] = Failure(name, job, status)
    return list(found.values())


def explain(graph: Graph, failure: Failure) -> Iterator[str]:
    """A failure for people, line by line."""
    job = f" (Slurm job {failure.job}: {failure.status})" if failure.job else ""
    log = graph.results / "logs" / f"{failure.name}.log"
    words = _tail(log)
    yield f"{failure.name} failed{job}"
    if words:
        yield f"  the end of {log}:"
        yield from (f"    {line[:SHOWN_CHARACTERS]}" for line in words.splitlines()[-LAST_LINES:])
    else:
        yield f"  {log} is empty"
    yield f"  {_advice(graph, failure, words)}"
    if (step := _saved_step(graph, failure.name)) is not None:
        yield f"  Training continues {f'after step {step}, its last checkpoint' if step else 'from its start'}."


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace").strip()
    except OSError:
        return ""


def _advice(graph: Graph, failure: Failure, words: str) -> str:
    if failure.status == "OUT_OF_MEMORY" or MEMORY.search(words):
        return _memory(graph, failure.name)
    if failure.status == "TIMEOUT":
        return (
            "Its wall time was over. Where the step cannot continue, another attempt asks for more. Training saves "
            "training.checkpoints.margin_seconds before the end: make that larger if a save takes longer. Run the same "
            "command again."
        )
    if failure.status in LOST:
        return (
            "Its node was lost. Run the same command again; a node that fails often is left out with "
            "--slurm-exclude-failed-nodes."
        )
    if failure.status in ("CANCELLED", "PREEMPTED"):
        return "Somebody cancelled it, or a job of higher priority took its place. Run the same command again to go on."
    if SENTENCE.search(words):
        return "Mend what the last line says, then run the same command again: what is finished stays."
    if "Traceback" in words:
        return "That is an error of the program; report it with this log. What is finished stays."
    return (
        "It ended without a word, as a process does that is killed: by hand, or by the system, out of memory "
        "(then `dmesg` tells). Run the same command again to go on."
    )


def _memory(graph: Graph, name: str) -> str:
    node = graph.nodes[name]
    stage = graph.project.stages.get(name.split("/")[-1])
    if node.step != "train" or stage is None:
        return (
            "It ran out of memory. Another attempt asks for more by itself (retries); or give it more with "
            f"--set-resources {node.step}:mem_mb=..., and run the same command again."
        )
    size = parameters(stage.model)
    state = bytes_in_words((size.total + size.mtp) * STATE_BYTES)
    asked = bytes_in_words(stage_resources(node, stage, None, 1, False)["mem_mb"] * 2**20)
    return (
        f"It ran out of memory. Weights, gradients and AdamW's averages of {(size.total + size.mtp) / 1e6:,.1f} M "
        f"parameters take {state} in each process, activations come on top; the job asks for {asked} of main memory on "
        "a node at first. Write a smaller training.micro_batch_size (nothing becomes stale) or "
        "training.gradient_checkpointing: true, or give it more with --set-resources train:mem_mb=..."
    )


def _saved_step(graph: Graph, name: str) -> int | None:
    """The step that an unfinished run continues from; None for what is no run."""
    if graph.nodes[name].step != "train":
        return None
    planned = Graph(graph.project).planned(name)  # its inputs may have been made since this one was read
    return last_checkpoint(building_folder(graph.folder(name), planned.run) / WORKING) if planned else None
