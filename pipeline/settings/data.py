"""The section `data` of a stage: which text, in which rows, and the steps that make them."""

import math
from collections.abc import Iterable, Mapping
from typing import Self

from pydantic import Field, model_validator

from pipeline.settings.base import Settings
from pipeline.settings.shards import (
    MixtureStep,
    Packing,
    PackStep,
    ShardBlock,
    Shortage,
    ValidationStep,
    shard_blocks,
)


class Source(Settings):
    """One domain of the corpus, with its share of this stage's tokens."""

    name: str = Field(min_length=1)
    """The domain's name in the workflow's configuration."""
    subset: str | None = None
    """An optional label of the part of the source that is used."""
    weight: float = Field(ge=0, allow_inf_nan=False)
    """Its share of the tokens, relative to the other sources' weights; 0 leaves it out of the stage."""
    description: str = ""
    """What the source holds, for people."""


class DataSettings(Settings):
    """Which text a stage trains on, and how it becomes rows."""

    sources: tuple[Source, ...] = ()
    """The stage's domains and weights; none: those of the workflow's configuration."""
    seq_len: int = Field(ge=1)
    """Tokens that one training sample reads."""
    packing: Packing = "concat"
    """`concat`: one stream of documents cut into rows, no token lost, no padding;
    `best_fit`: no document is cut that fits a row, at the price of a little padding."""
    seed: int = Field(0, ge=0)
    """Another seed gives another choice and order of documents."""
    max_epochs: float = Field(4.0, gt=0, allow_inf_nan=False)
    """How often a domain's text may be repeated. Up to 4 it is nearly as good as new text (Muennighoff et al. 2023)."""
    on_shortage: Shortage = "error"
    """What to do when a domain has too little text for its weight: stop, or give its missing tokens to the others."""
    shard_tokens: int = Field(1 << 26, ge=1)
    """Tokens in one shard, about; a shard is one array on disk."""
    shards_per_block: int = Field(64, ge=1)
    """Shards in one block. A block is one job and one artifact."""
    validation_rows: int = Field(256, ge=1)
    """At most so many validation rows a domain."""

    @model_validator(mode="after")
    def _sources_are_distinct(self) -> Self:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"sources: {name!r} is there {names.count(name)} times; add up its weights")
        if self.sources and not math.fsum(source.weight for source in self.sources) > 0:
            raise ValueError("sources: every weight is 0; give at least one a positive weight")
        return self

    @property
    def rows_per_shard(self) -> int:
        """Training samples in one shard."""
        return max(1, self.shard_tokens // self.seq_len)


def mixture_step(data: DataSettings, weights: Mapping[str, float], rows: int) -> MixtureStep:
    """The mixture of a stage that needs `rows` training samples of domains with these shares of the tokens."""
    return MixtureStep(
        weights=dict(weights),
        rows=rows,
        seq_len=data.seq_len,
        packing=data.packing,
        seed=data.seed,
        max_epochs=data.max_epochs,
        on_shortage=data.on_shortage,
        rows_per_shard=data.rows_per_shard,
    )


def stage_blocks(data: DataSettings, rows: int) -> list[ShardBlock]:
    """The blocks of shards of a stage that needs `rows` training samples."""
    return shard_blocks(rows, data.rows_per_shard, data.shards_per_block)


def pack_step(data: DataSettings, rows: int, mtp_depth: int, block: ShardBlock) -> PackStep:
    """The packing of one of the blocks that `stage_blocks` gives."""
    return PackStep(
        rows=rows,
        seq_len=data.seq_len,
        mtp_depth=mtp_depth,
        packing=data.packing,
        seed=data.seed,
        rows_per_shard=data.rows_per_shard,
        first_shard=block.first_shard,
        shards=block.shards,
    )


def validation_step(data: DataSettings, domains: Iterable[str], mtp_depth: int) -> ValidationStep:
    """The validation rows of a stage that trains on these domains."""
    return ValidationStep(
        domains=tuple(sorted(domains)),
        rows=data.validation_rows,
        seq_len=data.seq_len,
        mtp_depth=mtp_depth,
    )
