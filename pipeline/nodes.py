"""What a workflow makes: every artifact with its settings, inputs and execution. Known from the settings alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.corpus.blocks import blocks_of
from pipeline.settings.base import Settings, execution_of, identity
from pipeline.settings.corpus import normalize_weights
from pipeline.settings.data import mixture_step, pack_step, stage_blocks, validation_step
from pipeline.settings.evaluation import EvaluateStep
from pipeline.settings.export import ExportStep
from pipeline.settings.project import Project
from pipeline.settings.report import LadderStep, ReportStep
from pipeline.settings.tokenizer import tokenizer_step
from pipeline.settings.tokens import TokenizeStep
from pipeline.settings.training import train_step


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


def nodes_of(project: Project) -> Iterator[Node]:
    """Every artifact of a workflow, each after those it is made of."""
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
