"""The export of a stage that was really trained and evaluated."""

import json

from pipeline.export.generate import generate


def test_a_trained_stage_exports_with_its_figures_and_continues_text(small_project):
    export = small_project.make("export/small")
    card = export.path("README.md").read_text()
    figures = small_project.make("evaluate/small").manifest.counts
    for domain, table in figures["domains"].items():
        assert f"| {domain} | {table['weight']:.4g} | {table['nats_per_token']:.4g} |" in card
    for name in ("train/small", "tokenizer", "shards/small/0000", "mixture/small", "raw/python_code/0000"):
        assert f"| `{name}` | `{small_project.make(name).manifest.content}` |  |" in card
    assert "| tokens | 20,480 |" in card
    assert "| global batch | 8 sequences, 512 tokens |" in card
    assert json.loads(export.path("config.json").read_text())["vocab_size"] == 512
    assert export.manifest.counts["parity"]["largest_difference"] <= 1e-5
    assert "".join(generate(export.folder, "def ", 20, 0.8, 0.95, 0))
