"""A small corpus of Dolma-format files, a small tokenizer, and the steps run on them as artifacts."""

import gzip
import itertools
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.canonical import digest
from pipeline.artifact.fingerprint import sources
from pipeline.artifact.manifest import MANIFEST, Manifest, write_manifest
from pipeline.artifact.publish import entries
from pipeline.corpus.split import is_validation
from pipeline.settings.base import Settings, identity
from pipeline.settings.shards import MixtureStep, PackStep, shard_blocks
from pipeline.settings.tokens import TokenizeStep
from pipeline.shards.mixture import mixture
from pipeline.shards.pack import pack
from pipeline.shards.tokenize import tokenize
from pipeline.tokenizer.pretokenizer import pretokenizer
from pipeline.tokenizer.special import SPECIAL_TOKENS

TEXT = (
    """the quick brown fox jumps over a lazy dog while every small boat sails home in 1984 \u00e9t\u00e9 \u6f22\u5b57"""
)
WORDS = tuple(TEXT.split())


def text_of(seed: str, words: int) -> str:
    """Text that differs for every seed."""
    source = random.Random(seed)
    return seed + " " + " ".join(source.choice(WORDS) for _ in range(words))


def write_dolma(path: Path, documents: list[Any]) -> None:
    """Write a .json.gz file; strings that are no dictionaries become lines as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [line if isinstance(line, str) else json.dumps(line) for line in documents]
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))


def publish(
    folder: Path, name: str, step: str = "test", settings: Mapping[str, Any] | None = None, **rest: Any
) -> Artifact:
    """Give a folder the manifest that the machinery around steps would write."""
    manifest = Manifest(
        step=step,
        name=name,
        fingerprint=digest([name, dict(settings or {})]),
        settings=dict(settings or {}),
        code="",
        code_files={},
        inputs=sources(rest.get("inputs", [])),
        files=entries(folder),
        counts=rest.get("counts", {}),
        cost={},
        versions={},
    )
    write_manifest(folder, MANIFEST, manifest)
    return Artifact.open(folder / MANIFEST)


def run_step(
    function: Callable[..., dict[str, Any]],
    settings: Settings,
    root: Path,
    name: str,
    workers: int = 1,
    kept: frozenset[str] = frozenset(),
    **inputs: list[Artifact],
) -> Artifact:
    """Run a step as the machinery around it does."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    given_inputs = {role: tuple(found) for role, found in inputs.items()}
    build = Build(folder=folder, inputs=given_inputs, execution={"workers": workers}, kept=kept)
    counts = function(settings, build)
    given = [(role, one) for role, found in inputs.items() for one in found]
    return publish(folder, name, function.__name__, identity(settings), inputs=given, counts=counts)


def train_tokenizer(folder: Path, vocabulary: int = 320) -> Artifact:
    """Train a byte-level tokenizer on a few words and publish it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pretokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return publish(folder, "tokenizer")


class Corpus:
    """A tokenizer and blocks of tokens, with the texts that they were made of."""

    def __init__(
        self, root: Path, sizes: Mapping[str, list[list[int]]], fraction: float = 0.2, vocabulary: int = 320
    ) -> None:
        """`sizes` are, for each block of a domain, the words of its documents; a block has two files."""
        self.root = root
        self.fraction = fraction
        self.all_texts: list[str] = []
        self.tokenizer = train_tokenizer(root / "tokenizer", vocabulary)
        self.raw: dict[str, Artifact] = {}
        self.tokens: list[Artifact] = []
        step = TokenizeStep.parse({"validation": {"fraction": fraction, "seed": 1}})
        for domain, blocks in sizes.items():
            for number, words in enumerate(blocks):
                name = f"{domain}/{number:04d}"
                texts = [text_of(f"{name}/{line}", count) for line, count in enumerate(words)]
                self.all_texts += texts
                middle = len(texts) // 2
                for file, part in enumerate((texts[:middle], texts[middle:])):
                    records = [{"id": f"{name}-{file}-{line}", "text": text} for line, text in enumerate(part)]
                    write_dolma(root / "raw" / name / f"{file}.json.gz", records)
                raw = self.raw[name] = publish(root / "raw" / name, f"raw/{name}")
                self.tokens.append(
                    run_step(tokenize, step, root, f"tokens/{name}", raw=[raw], tokenizer=[self.tokenizer])
                )

    def texts(self, split: str) -> list[str]:
        """The texts of a split's documents, in no certain order."""
        wanted = [is_validation(text, self.fraction, 1) == (split == "validation") for text in self.all_texts]
        return list(itertools.compress(self.all_texts, wanted))

    def mix(self, name: str, **settings: Any) -> Artifact:
        """Run the step `mixture` with these settings beside small defaults."""
        step = MixtureStep.parse(
            {**DEFAULTS, "weights": WEIGHTS, "max_epochs": 4.0, "on_shortage": "error", **settings}
        )
        tokens = [block for block in self.tokens if block.name.split("/")[1] in step.weights]
        return run_step(mixture, step, self.root, f"mixture/{name}", tokens=tokens)

    def pack(
        self, name: str, plan: Artifact, workers: int = 1, shards_per_block: int = 2, kept: frozenset[str] = frozenset()
    ) -> list[Artifact]:
        """Run the step `pack` for every block of a plan's stage."""
        planned = {key: plan.manifest.settings[key] for key in DEFAULTS}
        tokens = [one for one in self.tokens if one.name in {source.artifact for source in plan.manifest.inputs}]
        inputs = {"mixture": [plan], "tokens": tokens, "tokenizer": [self.tokenizer]}
        blocks = shard_blocks(planned["rows"], planned["rows_per_shard"], shards_per_block)
        return [
            run_step(
                pack,
                PackStep.parse({**planned, "mtp_depth": 1, "first_shard": block.first_shard, "shards": block.shards}),
                self.root,
                f"shards/{name}/{block.block}",
                workers,
                kept,
                **inputs,
            )
            for block in blocks
        ]


DEFAULTS = {"rows": 90, "seq_len": 64, "packing": "concat", "seed": 3, "rows_per_shard": 16}
WEIGHTS = {"web": 0.5, "code": 0.3, "wiki": 0.2}


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """The functions above, for tests."""
    names = (Corpus, publish, run_step, text_of, train_tokenizer, write_dolma)
    return SimpleNamespace(**{one.__name__: one for one in names}, WEIGHTS=WEIGHTS)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Three domains of different size and document length, one of them in two blocks."""
    source = random.Random(7)
    sizes = {
        "web": [[source.randint(1, 60) for _ in range(150)], [source.randint(1, 60) for _ in range(100)]],
        "code": [[source.randint(1, 300) for _ in range(40)]],
        "wiki": [[source.randint(1, 40) for _ in range(60)]],
    }
    return Corpus(tmp_path_factory.mktemp("corpus"), sizes)
