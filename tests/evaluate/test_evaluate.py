"""The step on a stage that was really trained: its figures against direct computations, and what it refuses."""

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.artifact.manifest import Entry
from pipeline.evaluate.checkpoint import load_model
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.measures import MIXTURE
from pipeline.settings.evaluation import EvaluateStep
from pipeline.shards.array import open_member

CPU = torch.device("cpu")


@pytest.fixture
def run(small_project: Any, tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Runs the step on the small stage, with some inputs replaced; gives the folder and the counts."""

    def evaluate_with(
        settings: EvaluateStep | None = None, batch_rows: int = 5, **inputs: Artifact
    ) -> tuple[Path, dict[str, Any]]:
        folder = tmp_path / f"evaluated-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        given = small_project.inputs("evaluate/small") | {role: (one,) for role, one in inputs.items()}
        build = Build(folder, given, {"device": "cpu", "batch_rows": batch_rows})
        return folder, evaluate(settings or EvaluateStep(), build)

    return evaluate_with


def _with_inputs(artifact: Artifact, role: str, content: str) -> Artifact:
    """The artifact as if its input of this role had had other content."""
    changed = [s.model_copy(update={"content": content}) if s.role == role else s for s in artifact.manifest.inputs]
    return replace(artifact, manifest=artifact.manifest.model_copy(update={"inputs": tuple(changed)}))


def _remeasured(artifact: Artifact, relative: str) -> Artifact:
    """The artifact with a manifest that knows the file as it is now."""
    files = [Entry.of(artifact.folder, relative) if e.path == relative else e for e in artifact.manifest.files]
    return replace(artifact, manifest=artifact.manifest.model_copy(update={"files": tuple(files)}))


def _targets(small_project: Any, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """A domain's rows without the tokens that only MTP needs, and which of their targets are no padding."""
    rows = np.array(open_member(small_project.make("shards/small/validation"), f"{domain}.zarr"), dtype=np.int64)[
        :, :-2
    ]
    return rows, rows[:, 1:] != 2


def test_loss_and_bits_per_byte_equal_those_of_the_plain_forward_pass(small_project: Any, run: Any) -> None:
    _, counts = run()
    model = load_model(small_project.make("train/small"), CPU)
    tokenizer = Tokenizer.from_file(str(small_project.make("tokenizer").path("tokenizer.json")))
    rows, mask = _targets(small_project, "docstrings")
    with torch.no_grad():
        log_p = model(torch.from_numpy(rows[:, :-1])).log_softmax(-1).gather(-1, torch.from_numpy(rows[:, 1:, None]))
    nats = -float(log_p[..., 0].double()[torch.from_numpy(mask)].sum())
    text = "".join(tokenizer.decode(row[1:].tolist(), skip_special_tokens=True) for row in rows).encode()
    assert "\N{REPLACEMENT CHARACTER}".encode() not in text
    found = counts["domains"]["docstrings"]
    assert found["text_bytes"] == len(text)
    assert found["nats_per_token"] == pytest.approx(nats / mask.sum(), rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(text), rel=1e-5)
    assert found["gzip_bits_per_byte"] == pytest.approx(8 * len(gzip.compress(text, 9)) / len(text), rel=1e-5)


def test_the_unigram_knows_the_tokens_of_the_training_text(small_project: Any, run: Any) -> None:
    _, counts = run()
    plan = {row["domain"]: row for row in small_project.make("mixture/small").manifest.counts["mixture"]}
    expected = np.ones(512)
    for domain, row in plan.items():
        tokens = open_member(small_project.make(f"tokens/{domain}/0000"), "tokens.zarr/train/tokens")
        share = (row["tokens_delivered"] - row["documents_read"]) / len(tokens)
        expected += np.bincount(tokens, minlength=512) * share
        expected[1] += row["documents_read"]
    rows, mask = _targets(small_project, "docstrings")
    bits = -np.log2(expected / expected.sum())[rows[:, 1:][mask]].sum()
    found = counts["domains"]["docstrings"]
    assert found["unigram_bits_per_byte"] == pytest.approx(bits / found["text_bytes"], rel=1e-5)


def test_files_and_counts_hold_the_same_figures(run: Any) -> None:
    folder, counts = run()
    written = json.loads((folder / "evaluation.json").read_text())
    assert {key: written[key] for key in ("mixture", "domains", "gate")} == {
        key: counts[key] for key in ("mixture", "domains", "gate")
    }
    table = {row["domain"]: row for row in pq.read_table(folder / "domains.parquet").to_pylist()}
    assert set(table) == {"docstrings", "language_reference", "python_code", MIXTURE}
    assert table["docstrings"]["mtp_accuracy_1"] == counts["domains"]["docstrings"]["mtp_accuracy"][1]


def test_expert_shares_of_every_layer_sum_to_one(run: Any) -> None:
    folder, counts = run()
    rows = pq.read_table(folder / "expert_load.parquet").to_pylist()
    layers = {row["layer"] for row in rows}
    assert layers == {"layers.1.mlp", "layers.2.mlp", "mtp.0.block.mlp", "mtp.1.block.mlp"}
    for domain in (*counts["domains"], MIXTURE):
        for layer in layers:
            shares = [row["share"] for row in rows if (row["domain"], row["layer"]) == (domain, layer)]
            assert len(shares) == 4
            assert sum(shares) == pytest.approx(1)
    most = max(row["share"] for row in rows if row["domain"] == MIXTURE)
    assert counts["expert_violation"] == pytest.approx(4 * most - 1, rel=1e-5)


def test_the_batch_size_changes_no_byte(run: Any) -> None:
    (one, _), (other, _) = run(batch_rows=2), run(batch_rows=36)
    for name in ("evaluation.json", "domains.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_fewer_rows_are_scored_where_asked(run: Any) -> None:
    _, counts = run(EvaluateStep(rows=3))
    assert {table["rows"] for table in counts["domains"].values()} == {3}


def test_a_gate_that_is_not_reached_is_told_in_the_counts(run: Any) -> None:
    _, counts = run(EvaluateStep.parse({"gate": {"max_bits_per_byte": 0.5}}))
    assert counts["gate"]["passed"] is False
    assert "gate.max_bits_per_byte" in counts["gate"]["reasons"][0]


def test_a_domain_without_validation_text_is_named_and_left_out(small_project: Any, run: Any, tmp_path: Path) -> None:
    from pipeline.shards.array import write_array

    validation = small_project.copy("shards/small/validation", tmp_path / "results")
    write_array(validation.folder / "docstrings.zarr", np.empty((0, 67), np.uint16))
    files = [e for e in validation.manifest.files if e.path != "docstrings.zarr/c/0/0"]
    files = [Entry.of(validation.folder, e.path) if e.path == "docstrings.zarr/zarr.json" else e for e in files]
    emptied = replace(validation, manifest=validation.manifest.model_copy(update={"files": tuple(files)}))
    given = {role: small_project.make(name) for role, name in (("train", "train/small"), ("tokenizer", "tokenizer"))}
    # the run was made with the whole validation rows: let it know these
    given["train"] = _with_inputs(given["train"], "validation", emptied.manifest.content)
    _, counts = run(validation=emptied, **given)
    assert counts["without_text"] == ["docstrings"]
    assert set(counts["domains"]) == {"language_reference", "python_code"}


def test_rows_of_another_tokenizer_are_refused(small_project: Any, run: Any) -> None:
    validation = _with_inputs(small_project.make("shards/small/validation"), "tokenizer", "0" * 64)
    with pytest.raises(ArtifactError, match=r"shards/small/validation was made of another tokenizer"):
        run(validation=validation)


def test_a_checkpoint_trained_with_another_tokenizer_is_refused(small_project: Any, run: Any) -> None:
    train = _with_inputs(small_project.make("train/small"), "tokenizer", "0" * 64)
    with pytest.raises(ArtifactError, match=r"train/small was made of another tokenizer"):
        run(train=train)


def test_a_mixture_of_other_tokens_is_refused(small_project: Any, run: Any) -> None:
    mixture = _with_inputs(small_project.make("mixture/small"), "tokens", "0" * 64)
    with pytest.raises(ArtifactError, match=r"was made of another tokens/docstrings/0000"):
        run(mixture=mixture)


def test_a_checkpoint_of_other_settings_is_refused_by_tensor(small_project: Any, run: Any) -> None:
    train = small_project.make("train/small")
    model = {**train.manifest.settings["model"], "intermediate_size": 96}
    settings = {**train.manifest.settings, "model": model}
    other = replace(train, manifest=train.manifest.model_copy(update={"settings": settings}))
    with pytest.raises(ArtifactError, match=r"layers\.0\.mlp.*\[.*128.*\].*want.*96"):
        run(train=other)


def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_name(small_project: Any, run: Any, tmp_path: Path) -> None:
    train = small_project.copy("train/small", tmp_path / "results")
    state = load_file(train.folder / "model.safetensors")
    del state["norm.weight"]
    save_file(state, train.folder / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"norm\.weight is absent"):
        run(train=_remeasured(train, "model.safetensors"))


def test_a_damaged_checkpoint_is_refused(small_project: Any, run: Any, tmp_path: Path) -> None:
    train = small_project.copy("train/small", tmp_path / "results")
    path = train.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="its manifest says"):
        run(train=train)
    with pytest.raises(ArtifactError, match="is damaged"):
        run(train=_remeasured(train, "model.safetensors"))


def test_weights_that_are_not_finite_are_refused(small_project: Any, run: Any, tmp_path: Path) -> None:
    train = small_project.copy("train/small", tmp_path / "results")
    state = load_file(train.folder / "model.safetensors")
    state["norm.weight"][3] = math.nan
    save_file(state, train.folder / "model.safetensors")
    with pytest.raises(ArtifactError, match="validation of docstrings: the loss is nan"):
        run(train=_remeasured(train, "model.safetensors"))
