"""Training rows decoded: every planned token once and in order, and nothing of the validation documents.

Read with zarr, pyarrow and gzip. Only the order of a shard's rows is taken from the product, which defines it.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
import zarr
from tokenizers import Tokenizer
from workspace import ROOT, Workspace

from pipeline.shards.order import permutation

END = "<｜end▁of▁sentence｜>"
Key = tuple[str, int]
"""A document: its block of tokens, and its number in its split of that block."""


class Stage(NamedTuple):
    """The shards of a stage, and what they were made of."""

    results: Path
    name: str

    def settings(self) -> dict[str, Any]:
        manifest = self.results / "mixture" / self.name / "manifest.json"
        return json.loads(manifest.read_text())["settings"]

    def plan(self) -> list[dict[str, Any]]:
        return pq.read_table(self.results / "mixture" / self.name / "plan.parquet").to_pylist()

    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_file(str(self.results / "tokenizer" / "tokenizer.json"))

    def tables(self) -> Iterator[np.ndarray]:
        """Each shard's rows in the order of the plan: row i of a shard is row order[i] of the plan."""
        for shard, folder in enumerate(sorted((self.results / "shards" / self.name).glob("[0-9]*/*.zarr"))):
            assert folder.name == f"{shard:06d}.zarr"
            rows = zarr.open_array(folder, mode="r")[:]
            table = np.empty_like(rows)
            table[permutation(len(rows), self.settings()["seed"], "rows", shard)] = rows
            yield table

    def tokens(self, split: str) -> dict[Key, np.ndarray]:
        """The tokens of all documents."""
        found = {}
        for folder in sorted(self.results.glob("tokens/*/*/tokens.zarr")):
            group = zarr.open_group(folder, mode="r")[split]
            offsets, tokens = group["offsets"][:].tolist(), group["tokens"][:]
            block = folder.parent.relative_to(self.results).as_posix()
            for number in range(len(offsets) - 1):
                found[block, number] = tokens[offsets[number] : offsets[number + 1]]
        return found

    def texts(self, split: str) -> dict[Key, str]:
        """The raw text of all documents: the blocks' indices lead to its file and line."""
        found = {}
        for index in sorted(self.results.glob("tokens/*/*/index.parquet")):
            block = index.parent.relative_to(self.results).as_posix()
            raw = self.results / block.replace("tokens/", "raw/", 1)
            rows = [row for row in pq.read_table(index).to_pylist() if row["split"] == split]
            lines = {
                file: gzip.decompress((raw / file).read_bytes()).split(b"\n") for file in {r["file"] for r in rows}
            }
            for row in rows:
                found[block, row["document"]] = json.loads(lines[row["file"]][row["line"] - 1])["text"]
        return found


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The repository's own demo, as far as its shards."""
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    workspace = Workspace.create(tmp_path_factory.mktemp("demo") / "project", config)
    workspace.run("--until", "pack", "validation")
    return workspace


@pytest.fixture(params=["small", "demo"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """A small stage, and that of the demo."""
    workspace = request.getfixturevalue("finished" if request.param == "small" else "demo")
    return Stage(workspace.results, request.param)


def test_the_shards_hold_every_planned_token_once_and_in_order(stage: Stage) -> None:
    settings, plan, documents = stage.settings(), stage.plan(), stage.tokens("train")
    assert settings["packing"] == "concat"
    end, seq_len = stage.tokenizer().token_to_id(END), settings["seq_len"]
    planned = []
    for entry in plan:
        assert entry["documents"] == 1
        document = np.append(documents[entry["block"], entry["first_document"]], end)
        planned.append(document[entry["first_token"] : entry["first_token"] + entry["tokens"]])
        assert len(planned[-1]) == entry["tokens"]
    tables = list(stage.tables())
    assert len(tables) == -(-settings["rows"] // settings["rows_per_shard"])
    assert len(tables) > 1 or stage.name == "demo", "the small stage is there to have several shards"
    table = np.concatenate(tables)
    assert len(table) == settings["rows"]
    stream = table[:, :seq_len].ravel()
    np.testing.assert_array_equal(stream, np.concatenate(planned))
    ahead = table.shape[1] - seq_len
    following = np.lib.stride_tricks.sliding_window_view(stream, ahead)[seq_len::seq_len]
    np.testing.assert_array_equal(table[:-1, seq_len:], following)


def test_a_document_is_read_once_an_epoch(stage: Stage) -> None:
    read = [(entry["block"], entry["first_document"], entry["epoch"]) for entry in stage.plan()]
    assert len(set(read)) == len(read)


def test_tokens_are_those_of_the_raw_text_of_every_document(stage: Stage) -> None:
    tokenizer = stage.tokenizer()
    for split in ("train", "validation"):
        texts = stage.texts(split)
        tokens = stage.tokens(split)
        assert tokens.keys() == texts.keys()
        decoded = tokenizer.decode_batch([ids.tolist() for ids in tokens.values()], skip_special_tokens=False)
        assert dict(zip(tokens, decoded, strict=True)) == texts


def test_no_validation_document_is_trained_on(stage: Stage) -> None:
    train, validation = stage.texts("train"), set(stage.texts("validation").values())
    trained = {train[entry["block"], entry["first_document"]] for entry in stage.plan()}
    assert validation
    assert trained.isdisjoint(validation)


def test_validation_rows_hold_validation_documents_and_nothing_else(stage: Stage) -> None:
    tokenizer, seq_len = stage.tokenizer(), stage.settings()["seq_len"]
    end, known = tokenizer.token_to_id(END), stage.texts("validation")
    pad = tokenizer.token_to_id("<｜▁pad▁｜>")
    folders = sorted((stage.results / "shards" / stage.name / "validation").glob("*.zarr"))
    assert len(folders) == len(stage.settings()["weights"])
    for folder in folders:
        own = {text for (block, _), text in known.items() if block.startswith(f"tokens/{folder.stem}/")}
        stream = zarr.open_array(folder, mode="r")[:][:, :seq_len].ravel()
        *whole, last = np.split(stream, np.flatnonzero(stream == end) + 1)
        assert {tokenizer.decode(document[:-1].tolist(), skip_special_tokens=False) for document in whole} <= own
        cut = tokenizer.decode(last[last != pad].tolist(), skip_special_tokens=False).rstrip("\ufffd")
        assert any(text.startswith(cut) for text in own)
