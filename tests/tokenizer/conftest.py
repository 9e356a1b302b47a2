"""Downloaded blocks of real text, and a tokenizer trained on them by the step itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.manifest import MANIFEST, Manifest, write_manifest
from pipeline.artifact.publish import entries
from pipeline.corpus.blocks import blocks_of
from pipeline.corpus.download import download
from pipeline.settings.base import identity
from pipeline.settings.corpus import CorpusSettings, Domain, Validation
from pipeline.settings.tokenizer import TokenizerSettings, TokenizerStep, tokenizer_step
from pipeline.tokenizer.tokenizer import tokenizer

CORPUS = CorpusSettings(corpus_bytes=4_000_000)
WEIGHTS = {"language_reference": 0.25, "python_code": 0.75}
SETTINGS = TokenizerSettings(vocab_size=1000, sample_bytes=200_000)
VALIDATION = Validation(fraction=0.1)


def publish(folder: Path, name: str, settings: Mapping[str, Any], counts: Mapping[str, Any]) -> Artifact:
    """Give a step's folder a manifest."""
    manifest = Manifest(
        step="test",
        name=name,
        fingerprint=name,
        settings=dict(settings),
        code="",
        code_files={},
        inputs=(),
        files=entries(folder),
        counts=dict(counts),
        cost={},
        versions={},
    )
    write_manifest(folder, MANIFEST, manifest)
    return Artifact.open(folder / MANIFEST)


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, ...]:
    """Two domains of the embedded sample, downloaded."""
    results = tmp_path_factory.mktemp("results")
    blocks = [block for name in WEIGHTS for block in blocks_of(CORPUS, name, Domain(weight=1.0))]
    artifacts = []
    for block in blocks:
        name = f"raw/{block.domain}/{block.name}"
        (results / name).mkdir(parents=True)
        counts = download(block.step, Build(results / name))
        artifacts.append(publish(results / name, name, identity(block.step), counts))
    return tuple(artifacts)


@pytest.fixture(scope="session")
def step() -> TokenizerStep:
    """The settings of the tokenizer that the tests train."""
    return tokenizer_step(SETTINGS, WEIGHTS, VALIDATION)


@pytest.fixture(scope="session")
def trained(
    raw: tuple[Artifact, ...], step: TokenizerStep, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The trained tokenizer's file, and the counts of its step."""
    folder = tmp_path_factory.mktemp("tokenizer")
    counts = tokenizer(step, Build(folder, {"raw": raw}))
    return folder / "tokenizer.json", counts


@pytest.fixture(scope="session")
def path(trained: tuple[Path, dict[str, Any]]) -> Path:
    """The trained tokenizer's file."""
    return trained[0]
