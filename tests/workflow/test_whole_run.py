"""One command makes everything, a second one nothing."""

import base64
import html
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from workspace import ROOT, STAGE, Workspace, environment, finished_rules

from pipeline.artifact.manifest import MANIFEST, read_manifest


def test_every_artifact_is_there_and_declared(finished: Workspace) -> None:
    blocks = [
        f"{kind}/{domain}/0000"
        for kind in ("raw", "tokens")
        for domain in ("docstrings", "language_reference", "python_code")
    ]
    assert finished.artifacts() == sorted(
        [
            *blocks,
            "tokenizer",
            "mixture/small",
            "shards/small/0000",
            "shards/small/validation",
            "train/small",
            "evaluate/small",
            "export/small",
            "report/small",
            "ladder",
        ]
    )
    for name in finished.artifacts():
        manifest = read_manifest(finished.folder_of(name) / MANIFEST)
        assert manifest.name == name
        assert manifest.versions["python"]


def test_a_second_run_has_nothing_to_do(finished: Workspace) -> None:
    output = finished.run()
    assert "Nothing to be done" in output
    assert finished_rules(output) == []


def test_the_model_learned_more_than_frequencies(finished: Workspace) -> None:
    counts = read_manifest(finished.folder_of("evaluate/small") / MANIFEST).counts
    assert counts["gate"]["passed"]
    assert counts["mixture"]["bits_per_byte"] < counts["mixture"]["unigram_bits_per_byte"]


def test_zarr_opens_every_array_and_finds_what_the_memory_map_holds(finished: Workspace) -> None:
    chunks = sorted(finished.results.rglob("*.zarr/**/c/**/*"))
    arrays = {
        path.parents[len(path.parts) - 1 - path.parts.index("c", len(finished.results.parts))]
        for path in chunks
        if path.is_file()
    }
    assert len(arrays) > 10
    for folder in arrays:
        array = zarr.open(folder, mode="r")
        raw = np.memmap(next(path for path in (folder / "c").rglob("*") if path.is_file()), dtype=array.dtype, mode="r")
        np.testing.assert_array_equal(array[:].ravel(), raw)


def test_the_exported_folder_loads_and_continues_a_text(finished: Workspace) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = finished.folder_of("export/small")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("def main():", return_tensors="pt")
    assert model(**ids).logits.shape[-1] == STAGE["model"]["vocab_size"]
    command = [sys.executable, "-m", "pipeline", "generate", str(folder), "def main():", "--max-new-tokens", "8"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=finished.folder, env=environment(ROOT))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_trace_leads_from_the_export_to_the_raw_files(finished: Workspace) -> None:
    command = [sys.executable, "-m", "pipeline", "trace", str(finished.folder_of("export/small"))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=finished.folder, env=environment(ROOT))
    assert done.returncode == 0, done.stderr
    for word in ("train/small", "shards/small/0000", "tokenizer", "raw/python_code/0000", ".json.gz", "sha256"):
        assert word in done.stdout


CAPTIONS = {
    "loss.svg": "training far below validation means overfitting",
    "validation.svg": "A domain that stops falling while others go on has too small a share, or too little text.",
    "domains.svg": "A model at the unigram has learned no context.",
    "experts.svg": "a layer that stays at its highest value has collapsed onto few experts.",
    "mixture.svg": "and how often the domain's text is read (epochs).",
    "ladder.svg": "Where there are too few points the figure says so and predicts nothing.",
    "summary.html": "each with the digest of its content.",
}
"""Words of each figure's caption."""


def test_snakemake_collects_the_figures_with_captions(finished: Workspace, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    finished.run("--report", str(page))
    figures = {Path(path).name: figure for path, figure in collected(page).items()}
    assert figures.keys() == CAPTIONS.keys()
    for name, words in CAPTIONS.items():
        made = finished.folder_of("report/small") / name
        _, _, data = figures[name]["data_uri"].partition(";base64,")
        assert base64.b64decode(data) == made.read_bytes(), name
        caption = text_of(figures[name]["caption"])
        assert words in caption
        assert "small" in caption, "the caption's stage is filled in"
    assert "shows what one run of the workflow made of raw text" in page.read_text(), "the words that introduce it all"


def collected(page: Path) -> dict[str, dict[str, str]]:
    """Every result in a Snakemake report by its path: the page's script holds them as JSON."""
    _, found, rest = page.read_text().partition("\n    var results = ")
    assert found
    results: dict[str, dict[str, str]] = json.JSONDecoder().raw_decode(rest)[0]
    return results


def text_of(html_text: str) -> str:
    """The words of some HTML, without tags, with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", html_text)).split())


def test_a_dry_run_imports_no_torch(finished: Workspace, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('torch was imported at parse time')")
    env = environment(ROOT)
    env["PYTHONPATH"] = f"{tmp_path}:{env['PYTHONPATH']}"
    done = subprocess.run(finished.command("-n", "--forceall"), capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train" in done.stdout


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tokeniser", {}, "tokeniser: unknown key; did you mean 'tokenizer'?"),
        ("corpus_bytes", "many", "corpus_bytes: 'many'"),
        ("domains", {"wiki": {"weight": 1}}, "domains.wiki: the embedded sample has no such domain"),
        ("stages", ["tall"], "stages: 'tall' has no file"),
    ],
)
def test_a_wrong_setting_stops_at_parse_time_with_a_sentence(
    finished: Workspace, tmp_path: Path, key: str, value: object, message: str
) -> None:
    import yaml

    config = yaml.safe_load((finished.folder / "config.yaml").read_text())
    workspace = Workspace.create(tmp_path / "project", {**config, key: value}, STAGE)
    output = workspace.run("-n", fails=True)
    assert message in output
    assert "Traceback" not in output


def test_a_wrong_stage_setting_names_its_file_and_path(tmp_path: Path) -> None:
    stage = json.loads(json.dumps(STAGE))
    stage["model"]["moe"]["top_k"] = 9
    workspace = Workspace.create(tmp_path / "project", stage=stage)
    output = workspace.run("-n", fails=True)
    assert "small.json" in output
    assert "top_k is 9" in output
