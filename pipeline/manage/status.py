"""How far a workflow is: each artifact's state, and each training run's progress. Looks only, and needs no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.artifact.manifest import Manifest
from pipeline.artifact.publish import building_folder
from pipeline.graph import Graph
from pipeline.manage.holder import lock_holder
from pipeline.manage.queue import Job, comment_of, jobs_here
from pipeline.manage.run import Run, read_run
from pipeline.nodes import Node

State = Literal["running", "queued", "unfinished", "stale", "waits", "not made", "done"]


@dataclass(frozen=True)
class Status:
    """One artifact."""

    name: str
    step: str
    state: State
    """`waits`: something that it is made of has to come first. `unfinished`: training will go on with a run."""
    about: str
    """Why it is so, who makes it, or what came out; may be empty."""
    jobs: tuple[Job, ...]
    """Slurm's jobs that make it."""
    runs: tuple[Run, ...]
    """Of a training stage: its runs that are not finished."""


@dataclass(frozen=True)
class Overview:
    """A whole workflow."""

    results: str
    """The folder of all artifacts."""
    artifacts: tuple[Status, ...]
    """In the order in which they are made."""
    other_jobs: tuple[Job, ...]
    """Slurm's jobs of this folder that make none of them, the orchestrator's own for instance."""


def look(graph: Graph) -> Overview:
    """How far a workflow is now, with the Slurm jobs that were started from this folder."""
    jobs = jobs_here(Path.cwd())
    artifacts = tuple(_status(graph, node, jobs) for node in graph.nodes.values())
    known = {job.id for one in artifacts for job in one.jobs}
    return Overview(str(graph.results), artifacts, tuple(job for job in jobs if job.id not in known))


def as_data(overview: Overview) -> dict[str, Any]:
    """An overview for programs."""
    return asdict(overview)


def _status(graph: Graph, node: Node, jobs: Iterable[Job]) -> Status:
    own = tuple(job for job in jobs if job.comment == comment_of(node))
    runs = _runs(graph, node) if node.step == "train" else ()
    state, about = _state(graph, node.name, own, runs)
    return Status(node.name, node.step, state, about, own, runs)


def _state(graph: Graph, name: str, jobs: Sequence[Job], runs: Sequence[Run]) -> tuple[State, str]:
    maker = next((str(run.holder) for run in runs if run.trains), None) or _maker(graph, name, jobs)
    if maker:
        return "running", maker
    state, record = graph.state(name), graph.record(name)
    if not state.runs and record is not None:
        return "done", _outcome(record)
    if jobs:
        return "queued", str(jobs[0])
    if begun := next((run for run in runs if run.is_current and run.begun), None):
        return "unfinished", f"goes on after step {begun.checkpoint.step if begun.checkpoint else 0}"
    if record is not None:
        return "stale", state.why
    missing = [one for one in graph.needed(name) if graph.state(one).runs]
    if missing:
        return "waits", f"for {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
    return "not made", ""


def _maker(graph: Graph, name: str, jobs: Sequence[Job]) -> str | None:
    """Who makes an artifact now, by its lock, or as Slurm says: not every shared file system passes locks on."""
    if holder := lock_holder(graph.results, name):
        return f"process {holder}"
    return next((str(job) for job in jobs if job.state == "RUNNING"), None)


def _outcome(record: Manifest) -> str:
    """What came out, in short, where a figure tells it."""
    counts = record.counts
    if record.step == "train":
        return f"{counts['steps']:,} steps, {counts['tokens_per_second']:,.0f} tokens/s, MFU {counts['mfu']:.0%}"
    if record.step == "evaluate":
        gate = counts["gate"]
        verdict = "gate passed" if gate["passed"] else f"gate not passed: {'; '.join(gate['reasons'])}"
        return f"{counts['mixture']['bits_per_byte']:.3f} bits per byte; {verdict}"
    return ""


def _runs(graph: Graph, node: Node) -> tuple[Run, ...]:
    """The stage's current run, and those that are being trained; all of them where the current one is not known."""
    folder, planned = graph.folder(node.name), graph.planned(node.name)
    current = building_folder(folder, planned.run) if planned else None
    stage = graph.project.stages[node.name.split("/")[1]]
    steps = stage.training.steps(stage.data.seq_len)
    found = []
    for building in sorted(folder.parent.glob(f"{folder.name}.building-*")):
        is_current = building == current
        run = read_run(building, steps if is_current else None, is_current)
        if is_current or current is None or run.trains:
            found.append(run)
    return tuple(found)
