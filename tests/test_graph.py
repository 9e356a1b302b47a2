"""The graph of artifacts: what is made of what, with which identity, and what a change reaches."""

import gzip
import importlib
import json
import os
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.canonical import canonical_json
from pipeline.artifact.code import ROOT
from pipeline.artifact.manifest import MANIFEST
from pipeline.artifact.step import Request, run
from pipeline.corpus.download import download
from pipeline.graph import Graph, Node
from pipeline.settings.base import Settings, SettingsError, compose, execution_of, identity, is_execution
from pipeline.settings.corpus import DownloadStep
from pipeline.settings.plain import merge
from pipeline.settings.project import load_project, read_project
from pipeline.steps import STEPS

DEMO = Graph(read_project(ROOT / "config/demo.yaml", {"results": "never-made"}, roots=[ROOT]))


def section_of(step: str) -> type[Settings]:
    """The settings of a step, as its function asks for them."""
    function = getattr(importlib.import_module(STEPS[step].module), step)
    section = typing.get_type_hints(function)["settings"]
    assert issubclass(section, Settings)
    return section


def keys_below(plain: Any, where: str = "") -> Iterator[str]:
    if isinstance(plain, Mapping):
        for key, value in plain.items():
            yield f"{where}.{key}".lstrip(".")
            yield from keys_below(value, f"{where}.{key}")


def execution_keys(section: type[Settings], where: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        if is_execution(field):
            yield f"{where}.{name}".lstrip(".")
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from execution_keys(field.annotation, f"{where}.{name}")


@pytest.mark.parametrize("node", DEMO.nodes.values(), ids=lambda node: node.name)
def test_every_step_of_the_demo_reads_back_its_own_settings(node: Node) -> None:
    section = section_of(node.step)
    settings = section.parse(compose(node.settings, node.execution, section))
    assert identity(settings) == node.settings
    assert compose(identity(settings), execution_of(settings), section) == compose(
        node.settings, node.execution, section
    )
    assert section.parse(compose(identity(settings), execution_of(settings), section)) == settings


@pytest.mark.parametrize("node", DEMO.nodes.values(), ids=lambda node: node.name)
def test_no_execution_key_enters_an_identity(node: Node) -> None:
    assert not set(execution_keys(section_of(node.step))) & set(keys_below(node.settings))


def test_each_artifact_stands_after_what_it_is_made_of() -> None:
    seen: set[str] = set()
    for node in DEMO.nodes.values():
        assert set(node.inputs) <= seen
        seen.add(node.name)
    assert {node.step for node in DEMO.nodes.values()} == set(STEPS)


PROJECT: dict[str, Any] = {
    "domains": {"readmes": {"weight": 3}, "licences": {"weight": 1}, "docstrings": {"weight": 0}},
    "stages": ["first", "second"],
    "stages_folder": "stages",
    "tokenizer": {"vocab_size": 300},
}


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The graph of a two-stage project in a folder of its own, with some of the configuration and stages changed."""
    monkeypatch.chdir(tmp_path)
    stage = json.loads((ROOT / "config/stages/demo.json").read_text())

    def build(change: Mapping[str, Any] | None = None, stages: Mapping[str, Any] | None = None) -> Graph:
        for name in ("first", "second"):
            (tmp_path / "stages").mkdir(exist_ok=True)
            (tmp_path / "stages" / f"{name}.json").write_text(json.dumps(merge(stage, (stages or {}).get(name, {}))))
        return Graph(load_project({**PROJECT, **(change or {})}, roots=[tmp_path]))

    return build


def differing(one: Graph, other: Graph) -> set[str]:
    """The artifacts whose identity differs."""

    def identities(graph: Graph) -> dict[str, str]:
        return {node.name: canonical_json([node.settings, node.inputs]) for node in graph.nodes.values()}

    before, after = identities(one), identities(other)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.mark.parametrize(
    ("change", "stages", "changed"),
    [
        ({"results": "elsewhere", "rebuild": "train/second", "max_bad_fraction": 0.5}, {}, set()),
        ({"domains": {**PROJECT["domains"], "readmes": {"weight": 3, "description": "new"}}}, {}, set()),
        ({"domains": {name: {"weight": 2 * one["weight"]} for name, one in PROJECT["domains"].items()}}, {}, set()),
        ({"tokenizer": {"vocab_size": 400}}, {}, {"tokenizer"}),
        ({}, {"second": {"distributed": {"device": "cpu", "threads": 3}}}, set()),
        ({}, {"second": {"training": {"micro_batch_size": 1, "gradient_checkpointing": True}}}, set()),
        ({}, {"second": {"training": {"checkpoints": {"interval_steps": 7}}}}, set()),
        ({}, {"second": {"description": "new", "evaluation": {"interval_steps": 7, "batch_rows": 3}}}, set()),
        ({}, {"second": {"training": {"lr": 0.5}}}, {"train/second"}),
        ({}, {"second": {"evaluation": {"rows": 7}}}, {"evaluate/second"}),
        ({}, {"second": {"data": {"validation_rows": 7}}}, {"shards/second/validation"}),
        ({"export": {"dtype": "bfloat16"}}, {}, {"export/first", "export/second"}),
    ],
)
def test_a_change_reaches_exactly_the_artifacts_it_decides(build, change, stages, changed) -> None:
    assert differing(build(), build(change, stages)) == changed


def test_a_later_stage_waits_for_the_gate_of_the_one_before(build) -> None:
    graph = build()
    assert graph.nodes["train/first"].gate is None
    assert graph.nodes["train/second"].gate == "evaluate/first"
    assert graph.execution("train/second", 4)["gate"] == f"results/evaluate/first/{MANIFEST}"
    assert "gate" not in graph.nodes["train/second"].settings


def test_a_domain_without_weight_is_read_by_nothing_but_may_be_used_by_a_stage(build) -> None:
    readers = [node.name for node in build().nodes.values() if any("docstrings" in one for one in node.inputs)]
    assert readers == ["tokens/docstrings/0000"]
    sources = {"data": {"sources": [{"name": "docstrings", "weight": 1}]}}
    graph = build(stages={"second": sources})
    assert "tokens/docstrings/0000" in graph.nodes["mixture/second"].inputs
    assert "tokens/readmes/0000" not in graph.nodes["mixture/second"].inputs


def test_the_users_own_tokenizer_needs_no_text_and_may_move(build, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    (tmp_path / "moved.json").write_text("{}")
    graph = build({"tokenizer": {"path": "mine.json"}})
    assert graph.nodes["tokenizer"].inputs == ()
    assert differing(graph, build({"tokenizer": {"path": "moved.json"}})) == set()
    (tmp_path / "mine.json").write_text("{ }")
    assert differing(graph, build({"tokenizer": {"path": "mine.json"}})) == {"tokenizer"}


@pytest.mark.parametrize("rebuild", ["train/secnd", "second", "tokenizer"])
def test_a_rebuild_of_no_run_is_refused(build, rebuild: str) -> None:
    with pytest.raises(SettingsError, match=rf"^rebuild is '{rebuild}', .* name one of train/first, train/second$"):
        build({"rebuild": rebuild})


def write_corpus(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        line = json.dumps({"id": str(number), "text": f"{text} {number}", "source": "test"}) + "\n"
        (folder / f"part-{number}.json.gz").write_bytes(gzip.compress(line.encode(), mtime=0))


@pytest.fixture
def local(build, tmp_path: Path):
    """The graph of a local corpus in a folder, whose raw block was downloaded once."""

    def local(folder: str) -> Graph:
        domain = {"weight": 1, "paths": [f"{folder}/*.json.gz"]}
        return build({"corpus": "local", "domains": {"wiki": domain}})

    write_corpus(tmp_path / "corpus", "some text")
    graph = local("corpus")
    node = graph.nodes["raw/wiki/0000"]
    request = Request(
        step="download",
        module=STEPS["download"].module,
        settings=node.settings,
        inputs=[],
        output=graph.folder(node.name) / MANIFEST,
        results=graph.results,
        files=node.files,
        execution=graph.execution(node.name, 1),
    )
    section = DownloadStep.parse(compose(node.settings, request.execution, DownloadStep))
    run(request, lambda one: download(section, one))
    return local


def test_a_local_corpus_that_moved_leaves_nothing_stale(local, tmp_path: Path) -> None:
    before = local("corpus")
    assert before.settled("raw/wiki/0000")
    (tmp_path / "corpus").rename(tmp_path / "archive")
    after = local("archive")
    assert after.settled("raw/wiki/0000")
    assert differing(before, after) == set()


def test_a_local_file_of_equal_size_and_time_but_other_text_is_noticed(local, tmp_path: Path) -> None:
    path = tmp_path / "corpus/part-1.json.gz"
    old = path.stat()
    plain = bytearray(path.read_bytes())
    path.unlink()  # the artifact may hold a link to the same bytes
    plain[4] ^= 1  # the time in gzip's header: another file, of the same size
    path.write_bytes(plain)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    assert not local("corpus").settled("raw/wiki/0000")


def test_a_state_names_every_reason_and_says_when_there_is_none(local, tmp_path: Path) -> None:
    graph = local("corpus")
    assert not graph.state("raw/wiki/0000").runs
    assert graph.state("raw/wiki/0000").why == ""
    assert graph.state("tokenizer").why == "it is not there"
    assert "raw/wiki/0000" not in graph.running()
    lost = next((graph.folder("raw/wiki/0000") / "files").iterdir())
    lost.unlink()
    state = local("corpus").state("raw/wiki/0000")
    assert state.runs
    assert state.why == f"files/{lost.name} is missing"
    assert local("corpus").settled("raw/wiki/0000"), "it is made again as it was: nothing below it is stale"


def test_files_too_large_to_be_read_at_the_start_are_known_by_size_and_time(
    local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.graph.READ_BYTES", 1)
    assert local("corpus").settled("raw/wiki/0000")
    (tmp_path / "corpus/part-1.json.gz").touch()
    state = local("corpus").state("raw/wiki/0000")
    assert state.why == "its files were touched or replaced and have to be read"


def test_what_stands_below_a_running_step_is_known_by_inputs_and_by_gates(build) -> None:
    graph = build()
    assert graph.running() == list(graph.nodes), "nothing was made yet"
    first = next(iter(graph.nodes))
    assert not graph.runs_above(first)
    assert graph.runs_above("train/second")
    assert "evaluate/first" in graph.needed("train/second")
