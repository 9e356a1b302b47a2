"""A large plan without its work: thousands of raw files, and records of all artifacts as an earlier run left them."""

import gzip
import json
from pathlib import Path
from typing import Any

from workspace import STAGE, Workspace

from pipeline.artifact.manifest import MANIFEST, RECORD, Entry, Manifest, write_manifest
from pipeline.graph import Graph
from pipeline.manage.workflow import read_graph
from pipeline.steps import STEPS

DOMAINS = 13
FILES = 2500


def large_workspace(folder: Path) -> Workspace:
    """A workflow of two stages over 2,500 raw files of thirteen domains, in blocks of 50."""
    line = json.dumps({"id": "1", "text": "some text"}).encode() + b"\n"
    content = gzip.compress(line, mtime=0)
    for number in range(FILES):
        path = folder / "corpus" / f"domain{number % DOMAINS:02d}" / f"part-{number:05d}.json.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    names = [f"domain{number:02d}" for number in range(DOMAINS)]
    config = {
        "corpus": "local",
        "domains": {name: {"weight": 1, "paths": [f"corpus/{name}/*.json.gz"]} for name in names},
        "tokenizer": {"vocab_size": 512},
        "stages": ["small", "next"],
    }
    (folder / "config" / "stages").mkdir(parents=True)
    workspace = Workspace(folder)
    workspace.write(config, _stage(1 << 22), next=_stage(1 << 24))
    return workspace


def _stage(tokens: int) -> dict[str, Any]:
    data = {**STAGE["data"], "shard_tokens": 1 << 14, "shards_per_block": 64}
    return {**STAGE, "data": data, "training": {**STAGE["training"], "total_tokens": tokens}}


def record_everything(workspace: Workspace) -> None:
    """Write what an earlier run would have left: a record, a manifest and a file for each raw file."""
    for step in STEPS:
        graph = read_graph([workspace.folder / "config.yaml"], [])  # afresh: a graph looks at each artifact once
        for name in graph.named(step):
            _record(graph, name)


def _record(graph: Graph, name: str) -> None:
    planned, node, folder = graph.planned(name), graph.nodes[name], graph.folder(name)
    assert planned is not None
    files = [f"files/{path.name}" for path in node.files] or ["data"]
    for relative in files:
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(name)
    record = Manifest(
        **planned.fields(),
        name=name,
        files=tuple(Entry.of(folder, relative) for relative in files),
        counts={},
        cost={"seconds": 1.0},
        versions={},
    )
    for file in (MANIFEST, RECORD):
        write_manifest(folder, file, record)
