"""Reading blocks of tokens, and holding them to their lineage."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError
from pipeline.corpus.domain import domain_of
from pipeline.shards.array import open_member, read_attributes
from pipeline.shards.layout import GROUP

Split = Literal["train", "validation"]


@dataclass(frozen=True)
class TokenBlock:
    """One split of one block: its documents' tokens, mapped into memory."""

    name: str
    """The artifact's name, for instance `tokens/wiki/0000`."""
    tokens: np.ndarray
    """Shape [tokens], uint16 or uint32: all documents, one after the other, without special tokens."""
    offsets: np.ndarray
    """Shape [documents + 1], int64: where each document begins."""

    @property
    def lengths(self) -> np.ndarray:
        """The documents' tokens, each with one for the end token that packing adds: int64 of shape [documents]."""
        return np.diff(self.offsets) + 1


def open_block(artifact: Artifact, split: Split) -> TokenBlock:
    """Open one split of a block. Raises ArtifactError if its arrays are damaged or do not fit each other."""
    tokens, offsets = (open_member(artifact, f"{GROUP}/{split}/{name}") for name in ("tokens", "offsets"))
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(tokens):
        raise ArtifactError(f"{artifact.name}: the offsets of {split} do not fit its tokens; run its step again")
    return TokenBlock(artifact.name, tokens, offsets)


def by_domain(artifacts: Iterable[Artifact], domains: Iterable[str]) -> dict[str, list[Artifact]]:
    """The blocks of each domain, in order of their names.

    Raises ArtifactError if a domain has no block, or a block another domain.
    """
    blocks: dict[str, list[Artifact]] = {domain: [] for domain in sorted(domains)}
    given = sorted(artifacts, key=lambda artifact: artifact.name)
    for artifact in given:
        if domain_of(artifact) not in blocks:
            raise ArtifactError(
                f"{artifact.name} was given, but {domain_of(artifact)!r} is not among the domains {', '.join(blocks)}; "
                "give its domain a weight or leave the block out"
            )
        blocks[domain_of(artifact)].append(artifact)
    for domain, found in blocks.items():
        if not found:
            raise ArtifactError(
                f"domain {domain!r} has no tokens: given are {', '.join(one.name for one in given) or 'none'}; "
                "tokenize the domain, or take away its weight"
            )
    return blocks


def vocabulary_of(artifacts: Sequence[Artifact]) -> int:
    """How many ids the blocks' tokenizer has.

    Raises ArtifactError if the blocks were not all made with the same tokenizer.
    """
    first = artifacts[0]
    for artifact in artifacts:
        check_tokenizer(artifact, content_of(first, "tokenizer"), first.name)
    return int(read_attributes(first.path(f"{GROUP}/zarr.json").parent)["vocabulary"])


def check_tokenizer(block: Artifact, content: str, origin: str) -> None:
    """Raise ArtifactError if a block was made with another tokenizer than that of `origin`."""
    if content_of(block, "tokenizer") != content:
        raise ArtifactError(
            f"{block.name} was made with another tokenizer ({content_of(block, 'tokenizer')[:12]}) than {origin} "
            f"({content[:12]}); run the workflow again"
        )


def check_made_from(artifact: Artifact, blocks: Iterable[Artifact]) -> None:
    """Raise ArtifactError unless an artifact was made from exactly these blocks of tokens."""
    made = {source.artifact: source.content for source in artifact.manifest.inputs if source.role == "tokens"}
    given = {block.name: block.manifest.content for block in blocks}
    wrong = sorted(name for name in made.keys() | given.keys() if made.get(name) != given.get(name))
    if wrong:
        raise ArtifactError(
            f"{artifact.name} was made from other tokens than those given: {', '.join(wrong[:5])} "
            f"({len(wrong)} of {len(made.keys() | given.keys())} blocks); run its step again"
        )


def content_of(artifact: Artifact, role: str) -> str:
    """The content digest of an artifact's single input of a role, as its manifest recorded it."""
    found = [source.content for source in artifact.manifest.inputs if source.role == role]
    if len(found) != 1:
        raise ArtifactError(
            f"{artifact.name}: its manifest names {len(found)} inputs {role!r}, not one; run its step again"
        )
    return found[0]
