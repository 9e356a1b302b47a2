"""What decides the content of a stage's plan, shards and validation rows; the shards in blocks."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.settings.base import Settings

Packing = Literal["concat", "best_fit"]
Shortage = Literal["error", "redistribute"]


class MixtureStep(Settings):
    """What decides which documents a stage trains on, and in which order, beside the tokens themselves."""

    weights: dict[str, float]
    """Each domain's share of the tokens; positive, with a sum of 1."""
    rows: int = Field(ge=1)
    """Training samples of the stage: steps times global batch."""
    seq_len: int = Field(ge=1)
    packing: Packing
    seed: int = Field(ge=0)
    max_epochs: float = Field(gt=0, allow_inf_nan=False)
    on_shortage: Shortage
    rows_per_shard: int = Field(ge=1)

    @model_validator(mode="after")
    def _weights_are_shares(self) -> Self:
        for domain, weight in self.weights.items():
            if not weight > 0:
                raise ValueError(f"weights.{domain} is {weight}; leave the domain out or give it a positive weight")
        total = math.fsum(self.weights.values())
        if not math.isclose(total, 1, rel_tol=1e-6):
            raise ValueError(f"weights have a sum of {total:g}, not 1; divide each by {total:g}")
        return self


class PackStep(Settings):
    """What decides one block of a stage's shards, beside the plan, the tokens and the tokenizer."""

    rows: int = Field(ge=1)
    """Training samples of the whole stage."""
    seq_len: int = Field(ge=1)
    mtp_depth: int = Field(ge=0)
    packing: Packing
    seed: int = Field(ge=0)
    rows_per_shard: int = Field(ge=1)
    first_shard: int = Field(ge=0)
    """The number of the block's first shard within the stage."""
    shards: int = Field(ge=1)
    """How many shards the block holds."""

    @model_validator(mode="after")
    def _block_is_in_the_stage(self) -> Self:
        count = shard_count(self.rows, self.rows_per_shard)
        if self.first_shard + self.shards > count:
            raise ValueError(
                f"first_shard {self.first_shard} and shards {self.shards} lead beyond the stage's {count} shards; "
                "take the blocks from `shard_blocks`"
            )
        return self


class ValidationStep(Settings):
    """What decides a stage's validation rows, beside the tokens and the tokenizer."""

    domains: tuple[str, ...] = Field(min_length=1)
    """The domains that get validation rows of their own."""
    rows: int = Field(ge=1)
    """At most so many rows a domain."""
    seq_len: int = Field(ge=1)
    mtp_depth: int = Field(ge=0)


class ShardBlock(Settings):
    """A run of a stage's shards that one job packs and one artifact holds."""

    block: str
    """Its number within the stage, for instance `0000`."""
    first_shard: int
    shards: int


def shard_count(rows: int, rows_per_shard: int) -> int:
    """How many shards a stage of `rows` training samples has."""
    return -(-rows // rows_per_shard)


def shard_rows(shard: int, rows: int, rows_per_shard: int) -> int:
    """How many rows a shard has: all the same number, the last one what is left."""
    return min(rows_per_shard, rows - shard * rows_per_shard)


def shard_blocks(rows: int, rows_per_shard: int, shards_per_block: int) -> list[ShardBlock]:
    """The blocks of a stage's shards, in order. Known from settings alone, before anything ran."""
    count = shard_count(rows, rows_per_shard)
    return [
        ShardBlock(block=f"{number:04d}", first_shard=first, shards=min(shards_per_block, count - first))
        for number, first in enumerate(range(0, count, shards_per_block))
    ]
