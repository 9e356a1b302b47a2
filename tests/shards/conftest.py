"""A small corpus of Dolma-format files, a small tokenizer, and the steps run on them as artifacts."""

import gzip
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, trainers

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.canonical import digest
from pipeline.artifact.fingerprint import sources
from pipeline.artifact.manifest import MANIFEST, Manifest, write_manifest
from pipeline.artifact.publish import entries
from pipeline.settings.base import Settings, identity
from pipeline.settings.tokens import TokenizeStep
from pipeline.shards.tokenize import tokenize
from pipeline.tokenizer.pretokenizer import pretokenizer
from pipeline.tokenizer.special import SPECIAL_TOKENS

WORDS = (
    "the quick brown fox jumps over a lazy dog while every small boat sails home in 1984 été 漢字 def return".split()
)


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
        initial_alphabet=sorted(pretokenizer_alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return publish(folder, "tokenizer")


def pretokenizer_alphabet() -> list[str]:
    """The characters that stand for the 256 bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    return ByteLevel.alphabet()


class Corpus:
    """A tokenizer and blocks of tokens, with the texts that they were made of."""

    def __init__(
        self, root: Path, sizes: Mapping[str, list[list[int]]], fraction: float = 0.2, workers: int = 1
    ) -> None:
        """`sizes` are, for each block of a domain, the words of its documents; a block has two files."""
        self.root = root
        self.texts: dict[tuple[str, str], dict[str, str]] = {}
        self.tokenizer = train_tokenizer(root / "tokenizer")
        self.raw: dict[str, Artifact] = {}
        self.tokens: list[Artifact] = []
        step = TokenizeStep.parse({"validation": {"fraction": fraction, "seed": 1}})
        for domain, blocks in sizes.items():
            for number, words in enumerate(blocks):
                name = f"{domain}/{number:04d}"
                texts = [text_of(f"{name}/{line}", count) for line, count in enumerate(words)]
                middle = len(texts) // 2
                for file, part in enumerate((texts[:middle], texts[middle:])):
                    records = [{"id": f"{name}-{file}-{line}", "text": text} for line, text in enumerate(part)]
                    write_dolma(root / "raw" / name / f"{file}.json.gz", records)
                raw = self.raw[name] = publish(root / "raw" / name, f"raw/{name}")
                self.tokens.append(
                    run_step(tokenize, step, root, f"tokens/{name}", workers, raw=[raw], tokenizer=[self.tokenizer])
                )


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
