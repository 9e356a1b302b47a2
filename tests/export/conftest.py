"""A trained stage in miniature, as the artifacts that the step export reads."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.manifest import MANIFEST, Entry, Manifest, Source, write_manifest
from pipeline.export.export import export
from pipeline.model.deepseek import DeepSeekV3
from pipeline.model.initialize import initialize
from pipeline.settings.base import identity
from pipeline.settings.export import ExportStep
from pipeline.settings.model import ModelSettings
from pipeline.settings.training import TrainingSettings, train_step
from pipeline.tokenizer.special import SPECIAL_TOKENS

TEXT = "def encode(text):\n    return [ord(letter) for letter in text]\n# naïve façade, 12345 €\n" * 20
SHAPE: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 48,
    "num_layers": 4,
    "intermediate_size": 80,
    "mtp_depth": 2,
    "max_position_embeddings": 64,
    "init_std": 0.08,
    "mla": {
        "num_heads": 3,
        "q_lora_rank": 32,
        "kv_lora_rank": 24,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 12,
    },
    "moe": {"num_experts": 8, "top_k": 3, "num_groups": 4, "top_k_groups": 2, "intermediate_size": 24},
}

TRAINING: dict[str, Any] = {
    "total_tokens": 4096,
    "global_batch_size": 8,
    "micro_batch_size": 4,
    "lr": 0.0025,
    "schedule": {"warmup_tokens": 512},
}
COUNTS = {"steps": 16, "tokens": 4096, "skipped_steps": 0, "seconds": 12.5, "tokens_per_second": 321.0}


def train_tokenizer() -> Tokenizer:
    """A byte-level BPE with the special tokens first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


def random_model(settings: ModelSettings) -> DeepSeekV3:
    """A model with random weights, norms and router biases, and logits of a scale around 1."""
    model = DeepSeekV3(settings)
    initialize(model, settings, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name:
                tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
            elif name.endswith("bias"):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


class Workshop:
    """A results folder, in which artifacts are made and exported."""

    def __init__(self, results: Path) -> None:
        self.results = results

    def artifact(self, name: str, step: str, inputs: tuple[Artifact, ...] = (), **more: Any) -> Artifact:
        """Declare what lies in a folder as an artifact."""
        folder = self.results / name
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
        manifest = Manifest(
            step=step,
            name=name,
            fingerprint=more.get("fingerprint", f"fingerprint of {name}"),
            settings=more.get("settings", {}),
            code="",
            code_files={},
            inputs=tuple(
                Source(
                    role=one.manifest.step,
                    artifact=one.name,
                    content=one.manifest.content,
                    fingerprint=one.manifest.fingerprint,
                )
                for one in inputs
            ),
            files=tuple(Entry.of(folder, file) for file in files),
            counts=more.get("counts", {}),
            cost=more.get("cost", {}),
            versions={},
        )
        write_manifest(folder, MANIFEST, manifest)
        return Artifact.open(folder / MANIFEST)

    def tokenizer(self) -> Artifact:
        """A trained tokenizer."""
        folder = self.results / "tokenizer"
        folder.mkdir(parents=True)
        train_tokenizer().save(str(folder / "tokenizer.json"))
        return self.artifact("tokenizer", "tokenizer")

    def train(
        self,
        model: DeepSeekV3,
        *inputs: Artifact,
        settings: ModelSettings | None = None,
        training: Mapping[str, Any] = MappingProxyType({}),
        counts: Mapping[str, Any] = MappingProxyType({}),
        **more: Any,
    ) -> Artifact:
        """A trained stage; `settings` are what its manifest says instead of the model's own, others are changes."""
        folder = self.results / "train/demo"
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors"
        )
        step = train_step(settings or model.settings, TrainingSettings.parse({**TRAINING, **training}), seq_len=32)
        found = {**COUNTS, **counts}
        return self.artifact("train/demo", "train", inputs, settings=identity(step), counts=found, **more)

    def export(self, *inputs: Artifact, **settings: Any) -> tuple[Path, dict[str, Any]]:
        """Run the step on artifacts. Returns the folder and the counts."""
        folder = self.results / "export/demo"
        folder.mkdir(parents=True)
        build = Build(folder, {one.manifest.step: (one,) for one in inputs})
        return folder, export(ExportStep.parse(settings), build)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """An empty results folder."""
    return Workshop(tmp_path / "results")


@pytest.fixture
def make_model() -> Callable[..., DeepSeekV3]:
    """Make a random small model; changes are top-level keys, or sections to merge."""

    def make(**changes: Any) -> DeepSeekV3:
        data = dict(SHAPE)
        for key, value in changes.items():
            data[key] = data.get(key, {}) | value if isinstance(value, dict) else value
        return random_model(ModelSettings.parse(data))

    return make


@pytest.fixture
def export_model(workshop: Workshop) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """Export a model as the workflow would: `export_model(model, dtype=..., ...)`."""

    def run(model: DeepSeekV3, **settings: Any) -> tuple[Path, dict[str, Any]]:
        tokenizer = workshop.tokenizer()
        return workshop.export(workshop.train(model, tokenizer), tokenizer, **settings)

    return run
