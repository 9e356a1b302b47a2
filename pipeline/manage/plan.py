"""What `snakemake` would do now, in people's words: what is made again, why, at what cost, and what is reused."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact.change import Change
from pipeline.artifact.fingerprint import Identity
from pipeline.artifact.publish import WORKING, building_folder
from pipeline.artifact.state import find_made
from pipeline.graph import Graph
from pipeline.manage.checkpoints import newest_checkpoint
from pipeline.manage.cost import Cost, cost_of
from pipeline.manage.words import bytes_in_words, seconds_in_words
from pipeline.steps import STEPS
from pipeline.train.checkpoints import PREFIX


@dataclass(frozen=True)
class Planned:
    """One artifact whose step would run."""

    name: str
    step: str
    changes: tuple[Change, ...]
    """Its own reasons; without any it follows what it is made of."""
    because: tuple[str, ...]
    """Of what it is made, that runs too."""
    cost: Cost
    reuse: str
    """What of earlier work is used, in words; empty where there is nothing."""
    refused: str | None
    """Why an expensive finished run is not made again unasked."""


def plan(graph: Graph) -> list[Planned]:
    """The artifacts whose steps would run, in an order in which they can: those of `snakemake -n`, by construction."""
    return [_planned(graph, name) for name in graph.running()]


def as_data(graph: Graph, planned: list[Planned]) -> dict[str, Any]:
    """A plan for programs."""
    return {
        "artifacts": [asdict(one) for one in planned],
        "jobs": dict(Counter(one.step for one in planned)),
        "unaffected": [name for name in graph.nodes if not graph.state(name).runs],
        "seconds": sum(one.cost.seconds for one in planned),
        "gpu_hours": sum(one.cost.gpu_hours for one in planned),
        "disk_bytes": sum(one.cost.disk_bytes for one in planned),
    }


def as_text(graph: Graph, planned: list[Planned]) -> Iterator[str]:
    """A plan for people, line by line."""
    if not planned:
        yield f"Nothing to be done: all {len(graph.nodes)} artifacts are as settings, inputs and code want them."
        return
    for one in planned:
        yield from _lines(one)
    totals = as_data(graph, planned)
    jobs = ", ".join(f"{count} {step}" for step, count in totals["jobs"].items())
    yield ""
    yield f"{len(planned)} of {len(graph.nodes)} artifacts: {jobs}; {len(totals['unaffected'])} stay as they are."
    gpu = f", {totals['gpu_hours']:,.1f} GPU-hours" if totals["gpu_hours"] else ""
    yield (
        f"One after the other about {seconds_in_words(totals['seconds'])}{gpu}; "
        f"about {bytes_in_words(totals['disk_bytes'])} of disk."
    )


def _planned(graph: Graph, name: str) -> Planned:
    node = graph.nodes[name]
    because = tuple(one for one in node.inputs if graph.state(one).runs)
    return Planned(
        name=name,
        step=node.step,
        changes=graph.state(name).changes,
        because=because,
        cost=cost_of(graph, name),
        reuse=_reuse(graph, name),
        refused=graph.refusal(name),
    )


def _reuse(graph: Graph, name: str) -> str:
    step, state, planned = STEPS[graph.nodes[name].step], graph.state(name), graph.planned(name)
    if not state.changes:
        return "ends at once where what it is made of comes out as it was"
    if planned and find_made(graph.folder(name), planned):
        return "a whole copy is kept beside it and is put back"
    if step.resumes and planned and (begun := newest_checkpoint(_run(graph, name, planned))):
        return f"an unfinished run goes on from its checkpoint {PREFIX}{begun.step:09d}"
    if all(change.kind == "lost" for change in state.changes) and (step.keeps or step.resumes):
        return "only what is lost is made again"
    return "the old run is kept aside" if step.resumes and graph.record(name) else ""


def _run(graph: Graph, name: str, planned: Identity) -> Path:
    """The run directory of a training stage that is not finished."""
    return building_folder(graph.folder(name), planned.run) / WORKING


def _lines(one: Planned) -> Iterator[str]:
    yield one.name
    for change in one.changes:
        yield f"    {change}"
    if not one.changes:
        yield f"    follows {_few(one.because)}"
    yield f"    about {_cost_in_words(one.cost)}"
    if one.reuse:
        yield f"    {one.reuse}"
    if one.refused:
        yield f"    REFUSED: {one.refused}"


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _cost_in_words(cost: Cost) -> str:
    gpu = f", {cost.gpu_hours:,.1f} GPU-hours" if cost.gpu_hours else ""
    disk = f", {bytes_in_words(cost.disk_bytes)}" if cost.disk_bytes else ""
    return f"{seconds_in_words(cost.seconds)}{gpu}{disk} ({cost.ground})"
