"""What a path holds that could become an artifact, checked as the step that makes such an artifact would."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifact.change import settings_changes
from pipeline.artifact.files import ArtifactError, inside, is_temporary
from pipeline.artifact.fingerprint import Identity
from pipeline.artifact.manifest import RECORD, Acceptance, Entry, Manifest, read_manifest
from pipeline.artifact.publish import WORKING
from pipeline.artifact.verify import damage
from pipeline.nodes import Node
from pipeline.train.checkpoints import PREFIX

TOKENIZER = "tokenizer.json"
LOGS = ("history.jsonl", "metrics.jsonl", "validation.jsonl", "skipped.jsonl", "tensorboard")
"""Of a run's working data those that tell its story."""


@dataclass(frozen=True)
class Offer:
    """Files to become an artifact, and what is known of them."""

    folder: Path
    """Where they are."""
    files: Mapping[str, Path]
    """Where each is, by its name in the artifact."""
    logs: Mapping[str, Path] = field(default_factory=dict)
    """Working data to come along; no part of the artifact."""
    entries: tuple[Entry, ...] | None = None
    """What the files must be; None where no record says."""
    record: Manifest | None = None
    counts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """What the files were made as; empty where no record says."""
        return self.record.fingerprint if self.record else ""

    @property
    def accepted(self) -> tuple[Acceptance, ...]:
        """What people said of them before."""
        return self.record.accepted if self.record else ()


def offer(source: Path, node: Node, planned: Identity) -> Offer:
    """What a path offers as the artifact of a node. Raises ArtifactError that says what does not fit."""
    if node.step == "tokenizer":
        return _tokenizer(source, node)
    found = _recorded(source, node)
    if node.step == "tokenize":
        _require_block(found, planned)
    else:
        _require_model(found, planned)
    return found


def _tokenizer(source: Path, node: Node) -> Offer:
    path = source / TOKENIZER if source.is_dir() else source
    found = _recorded(source, node) if (source / RECORD).exists() else _bare(path)
    _require_tokenizer(path, node)
    return found


def _bare(path: Path) -> Offer:
    from pipeline.tokenizer.load import load_tokenizer
    from pipeline.tokenizer.special import special_ids

    tokenizer = load_tokenizer(path)
    counts = {"vocabulary": tokenizer.get_vocab_size(), "special_ids": special_ids(tokenizer)._asdict()}
    return Offer(path.parent, {TOKENIZER: path}, counts=counts)


def _require_tokenizer(path: Path, node: Node) -> None:
    """Raises ArtifactError if a tokenizer is not byte-level BPE, too large, or not the one that the settings name."""
    from pipeline.artifact.files import sha256_of
    from pipeline.tokenizer.load import load_tokenizer

    size, most = load_tokenizer(path).get_vocab_size(), node.settings["vocab_size"]
    if size > most:
        raise ArtifactError(
            f"{path} has {size} tokens, tokenizer.vocab_size allows {most}; set tokenizer.vocab_size to {size}"
        )
    own = node.settings["own_sha256"]
    if own is not None and own != sha256_of(path):
        raise ArtifactError(
            f"{path} is not the file that tokenizer.path names; write its path there instead: then nothing is to adopt"
        )


def _recorded(source: Path, node: Node) -> Offer:
    """An artifact that was made elsewhere, files of the sizes that its record says."""
    if not (source / RECORD).is_file():
        raise ArtifactError(_no_record(source, node))
    record = read_manifest(source / RECORD)
    if record.step != node.step:
        raise ArtifactError(
            f"{source} was made by the step {record.step}, but {node.name} is made by {node.step}; name another folder"
        )
    for path, what in damage(source, record):
        raise ArtifactError(f"{source / path} {what}; copy the artifact again from where it was made")
    files = {entry.path: inside(source, entry.path) for entry in record.files}
    return Offer(source, files, _logs(source), record.files, record, record.counts)


def _no_record(source: Path, node: Node) -> str:
    ways = f"copy the whole folder of the artifact, with its {RECORD}"
    if node.step == "tokenize":
        ways += ", or leave it to the workflow to make it"
    elif node.step == "train":
        ways += f", or name a checkpoint such as {PREFIX}000000100, with its complete.json"
    return f"{source} has no {RECORD}, so nothing says what it was made of; {ways}"


def _logs(source: Path) -> dict[str, Path]:
    """A run's logs by their names in the artifact; the links among them are left out."""
    tops = [source / WORKING / name for name in LOGS]
    paths = [path for top in tops for path in (sorted(top.rglob("*")) if top.is_dir() else [top])]
    real = source.resolve()
    whole = (path for path in paths if path.is_file() and not is_temporary(path))
    return {str(path.relative_to(source)): path for path in whole if path.resolve().is_relative_to(real)}


def _require_block(found: Offer, planned: Identity) -> None:
    """Raises ArtifactError if a block is of another tokenizer, other raw files, or other validation documents."""
    _require_input(found, planned, "tokenizer")
    _require_input(found, planned, "raw")
    assert found.record is not None
    if changed := list(settings_changes(found.record.settings, planned.settings)):
        raise ArtifactError(f"{found.folder} has other settings ({'; '.join(map(str, changed))}); put them back")


def _require_model(found: Offer, planned: Identity) -> None:
    """Raises ArtifactError if a run trained another model, or with another tokenizer."""
    _require_input(found, planned, "tokenizer")
    assert found.record is not None
    changed = list(settings_changes(found.record.settings["model"], planned.settings["model"]))
    if changed:
        keys = "; ".join(f"model.{change}" for change in changed)
        raise ArtifactError(f"{found.folder} holds another model ({keys}); put these settings back, or train this one")


def _require_input(found: Offer, planned: Identity, role: str) -> None:
    assert found.record is not None
    before, now = (
        {source.content for source in inputs if source.role == role} for inputs in (found.record.inputs, planned.inputs)
    )
    if before != now:
        theirs, ours = (", ".join(sorted(content[:12] for content in contents)) for contents in (before, now))
        raise ArtifactError(
            f"{found.folder} was made of the {role} {theirs}, but this workflow's is {ours}; "
            "adopt that first, or leave this to be made"
        )
