"""Every artifact of a workflow: what makes it, of what, with which settings. Known before anything runs, without torch.

The Snakefile's rules and the command line both read it, so they cannot disagree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact.fingerprint import Identity
from pipeline.artifact.manifest import MANIFEST
from pipeline.artifact.state import files_stamp, planned_identity, repairs_wanted, restore_manifest
from pipeline.artifact.verify import recorded
from pipeline.corpus.blocks import blocks_of
from pipeline.settings.base import Settings, SettingsError, execution_of, identity
from pipeline.settings.corpus import normalize_weights
from pipeline.settings.data import mixture_step, pack_step, stage_blocks, validation_step
from pipeline.settings.evaluation import EvaluateStep
from pipeline.settings.export import ExportStep
from pipeline.settings.project import Project
from pipeline.settings.report import LadderStep, ReportStep
from pipeline.settings.tokenizer import tokenizer_step
from pipeline.settings.tokens import TokenizeStep
from pipeline.settings.training import train_step
from pipeline.steps import STEPS


@dataclass(frozen=True)
class Node:
    """One artifact and how it is made."""

    name: str
    """Its folder below the results folder."""
    step: str
    settings: dict[str, Any]
    """What enters its identity."""
    execution: dict[str, Any]
    """How it is computed."""
    inputs: tuple[str, ...] = ()
    """The artifacts that it is made of."""
    files: tuple[Path, ...] = ()
    """The user's own files that it is made of."""
    gate: str | None = None
    """The evaluation that must have passed before; decides when, not what."""


class Graph:
    """The artifacts of a workflow by name, each after those it is made of."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.results = Path(project.workflow.results)
        self.nodes = {node.name: node for node in _nodes(project)}
        self._check_rebuild(project.workflow.rebuild)
        self._settled: dict[str, bool] = {}
        self._plans: dict[str, Identity | None] = {}
        self._unaffected = self._find_unaffected()

    def named(self, step: str) -> list[str]:
        """The artifacts that a step makes."""
        return [node.name for node in self.nodes.values() if node.step == step]

    def folder(self, name: str) -> Path:
        """Where an artifact lies."""
        return self.results / name

    def settled(self, name: str) -> bool:
        """Whether an artifact and all that it is made of were made as settings, code and inputs want them now."""
        if name not in self._settled:
            self._settled[name] = self._is_settled(name)
        return self._settled[name]

    def unaffected(self, name: str) -> bool:
        """Whether an artifact is settled and so is everything made of it.

        Then nothing that happens above it (a lost file made again, a newer time stamp) gives it a reason to run. With
        an unsettled one below, it stays in the chain: Snakemake asks a job for reasons of its own only where none of
        those above it runs.
        """
        return name in self._unaffected

    def restore_manifests(self) -> None:
        """Declare again what is settled but lost its manifest; nothing has to run for it."""
        for name in self.nodes:
            if self.settled(name):
                restore_manifest(self.results, name)

    def execution(self, name: str, workers: int) -> dict[str, Any]:
        """How an artifact is computed on so many cores."""
        node = self.nodes[name]
        gate = {"gate": str(self.folder(node.gate) / MANIFEST)} if node.gate else {}
        return {**node.execution, **gate, "workers": workers}

    def stamp(self, name: str) -> str:
        """What tells that the user's own files, of which an artifact is made, changed."""
        return files_stamp(self.nodes[name].files)

    def repairs(self, name: str) -> tuple[str, ...]:
        """Why an artifact must be made again where Snakemake cannot see it."""
        return repairs_wanted(self.folder(name), self._planned(name))

    def _check_rebuild(self, name: str) -> None:
        runs = self.named("train")
        if name and name not in runs:
            raise SettingsError(f"rebuild is {name!r}, which is no run of this workflow; name one of {', '.join(runs)}")

    def _is_settled(self, name: str) -> bool:
        record, planned = recorded(self.folder(name)), self._planned(name)
        return record is not None and planned is not None and record.fingerprint == planned.fingerprint

    def _planned(self, name: str) -> Identity | None:
        """What an artifact would be made of now; None while an input is still to come."""
        if name not in self._plans:
            self._plans[name] = self._plan(self.nodes[name])
        return self._plans[name]

    def _plan(self, node: Node) -> Identity | None:
        if not all(self.settled(name) for name in node.inputs):
            return None
        step = STEPS[node.step]
        inputs = [(STEPS[self.nodes[name].step].role, self.folder(name)) for name in node.inputs]
        return planned_identity(node.step, step.module, node.settings, inputs, node.files)

    def _find_unaffected(self) -> set[str]:
        affected: set[str] = set()
        for node in reversed(self.nodes.values()):
            if node.name in affected or not self.settled(node.name):
                affected.update((node.name, *node.inputs))
        return self.nodes.keys() - affected


def _nodes(project: Project) -> Iterator[Node]:
    raw = list(_download(project))
    yield from raw
    yield _tokenizer(project, [node.name for node in raw])
    tokens = [_tokenize(project, node.name) for node in raw]
    yield from tokens
    before: str | None = None
    for stage in project.stages:
        yield from _stage(project, stage, [node.name for node in tokens], before)
        before = f"evaluate/{stage}"
    yield _ladder(project)
    for stage in project.stages:
        yield _report(project, stage)


def _download(project: Project) -> Iterator[Node]:
    workflow = project.workflow
    for domain, settings in workflow.domains.items():
        for block in blocks_of(workflow, domain, settings):
            files = tuple(Path(path) for path in block.step.paths)
            yield _node(f"raw/{domain}/{block.name}", "download", block.step, files=files)


def _tokenizer(project: Project, raw: list[str]) -> Node:
    workflow = project.workflow
    weights = normalize_weights(workflow.domains)
    settings = tokenizer_step(workflow.tokenizer, weights, workflow.validation, workflow.max_line_bytes)
    learnt_from = settings.training.weights if settings.training else {}  # the user's own file learns from nothing
    return _node("tokenizer", "tokenizer", settings, [name for name in raw if _domain(name) in learnt_from])


def _domain(name: str) -> str:
    """The domain of an artifact such as `raw/wiki/0000`."""
    return name.split("/")[1]


def _tokenize(project: Project, raw: str) -> Node:
    workflow = project.workflow
    settings = TokenizeStep(
        validation=workflow.validation,
        max_line_bytes=workflow.max_line_bytes,
        max_bad_fraction=workflow.max_bad_fraction,
    )
    return _node(raw.replace("raw/", "tokens/", 1), "tokenize", settings, [raw, "tokenizer"])


def _stage(project: Project, name: str, tokens: list[str], before: str | None) -> Iterator[Node]:
    stage = project.stages[name]
    weights = project.weights(name)
    used = [token for token in tokens if _domain(token) in weights]
    depth = stage.model.mtp_depth
    yield _node(f"mixture/{name}", "mixture", mixture_step(stage.data, weights, stage.rows), used)
    of_tokens = [*used, "tokenizer"]
    validation = f"shards/{name}/validation"
    yield _node(validation, "validation", validation_step(stage.data, weights, depth), of_tokens)
    shards = []
    for block in stage_blocks(stage.data, stage.rows):
        shards.append(f"shards/{name}/{block.block}")
        yield _node(
            shards[-1], "pack", pack_step(stage.data, stage.rows, depth, block), [f"mixture/{name}", *of_tokens]
        )
    train = train_step(stage.model, stage.training, stage.data.seq_len)
    yield _node(
        f"train/{name}",
        "train",
        train,
        [*shards, validation, "tokenizer"],
        execution={
            "distributed": stage.distributed.model_dump(mode="json"),
            "evaluation": stage.evaluation.model_dump(mode="json"),
            "weights": weights,
        },
        gate=before,
    )
    yield _node(
        f"evaluate/{name}",
        "evaluate",
        EvaluateStep(rows=stage.evaluation.rows, gate=stage.evaluation.gate),
        [f"train/{name}", validation, f"mixture/{name}", "tokenizer"],
        execution={"device": stage.distributed.device, "batch_rows": stage.evaluation.batch_rows},
    )
    yield _node(
        f"export/{name}",
        "export",
        ExportStep(**dict(project.workflow.export)),
        [f"train/{name}", f"evaluate/{name}", "tokenizer"],
    )


def _ladder(project: Project) -> Node:
    inputs = [f"{step}/{stage}" for stage in project.stages for step in ("train", "evaluate")]
    return _node("ladder", "ladder", LadderStep(), inputs)


def _report(project: Project, stage: str) -> Node:
    inputs = [f"{step}/{stage}" for step in ("mixture", "train", "evaluate", "export")]
    return _node(f"report/{stage}", "report", ReportStep(stage=stage), [*inputs, "ladder", "tokenizer"])


def _node(
    name: str,
    step: str,
    settings: Settings,
    inputs: list[str] | None = None,
    files: tuple[Path, ...] = (),
    execution: dict[str, Any] | None = None,
    gate: str | None = None,
) -> Node:
    how = {**execution_of(settings), **(execution or {})}
    return Node(name, step, identity(settings), how, tuple(inputs or ()), files, gate)
