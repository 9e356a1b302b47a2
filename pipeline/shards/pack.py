"""The step `pack`: one block of a stage's shards, each an array of training rows in their final order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.settings.shards import PackStep, shard_count, shard_rows
from pipeline.shards import best_fit
from pipeline.shards.array import METADATA, ArrayWriter
from pipeline.shards.concat import rows_of_stream, stream_span
from pipeline.shards.gather import Library, Runs
from pipeline.shards.layout import id_type
from pipeline.shards.order import permutation
from pipeline.shards.plan import PLAN, entries_of_shard, entries_of_span
from pipeline.shards.tokens import check_made_from, check_tokenizer, vocabulary_of
from pipeline.shards.workers import run_jobs
from pipeline.tokenizer.load import load_tokenizer
from pipeline.tokenizer.special import SpecialIds, special_ids

SLAB_ROWS = 4096
PROCESS_TOKENS = 1 << 27
"""Tokens for which another process pays: it takes about as long to start as these to pack."""


def pack(settings: PackStep, build: Build) -> dict[str, Any]:
    """Write the block's shards as `<shard>.zarr`, arrays of shape [rows, seq_len + 1 + mtp_depth].

    A shard's rows are shuffled: they are in the order of training, and every run of them is a sample of its text.
    Reads the plan `mixture`, all blocks `tokens` that it was made of, and `tokenizer` for the end and pad ids. A shard
    depends on the plan alone, not on the others: any process may pack it. Raises ArtifactError if plan, tokens and
    tokenizer do not belong together.
    """
    mixture, tokenizer, tokens = build.one("mixture"), build.one("tokenizer"), build.inputs["tokens"]
    _check(settings, mixture, tokenizer, tokens)
    packer = Packer(
        settings,
        build.folder,
        mixture.path(PLAN),
        Library({one.name: one for one in tokens}),
        id_type(vocabulary_of(tokens)),
        special_ids(load_tokenizer(tokenizer.path("tokenizer.json"))),
    )
    shards = range(settings.first_shard, settings.first_shard + settings.shards)
    jobs = [shard for shard in shards if not _is_kept(build, shard)]
    waiting = len(jobs) * settings.rows_per_shard * settings.seq_len
    done = run_jobs(packer.pack, jobs, min(build.workers, 1 + waiting // PROCESS_TOKENS))
    for _ in tqdm(done, total=len(jobs), desc="shards", mininterval=1, disable=None):
        pass
    rows = sum(shard_rows(shard, settings.rows, settings.rows_per_shard) for shard in shards)
    return {"shards": settings.shards, "rows": rows, "tokens": rows * settings.seq_len}


def shard_name(shard: int) -> str:
    """The folder of a shard's array."""
    return f"{shard:06d}.zarr"


@dataclass(frozen=True)
class Packer:
    """Packs single shards."""

    settings: PackStep
    folder: Path
    plan: Path
    library: Library
    dtype: np.dtype
    ids: SpecialIds

    def pack(self, shard: int) -> None:
        """Write one shard's array."""
        stage = self.settings
        rows = shard_rows(shard, stage.rows, stage.rows_per_shard)
        table = self._concat(shard, rows) if stage.packing == "concat" else self._best_fit(shard, rows)
        # As packed, a long document's rows would follow each other and fill whole batches; best-fit rows are by size.
        order = permutation(rows, stage.seed, "rows", shard)
        with ArrayWriter(self.folder / shard_name(shard), self.dtype, (self.width,)) as writer:
            for begin in range(0, rows, SLAB_ROWS):
                writer.append(table[order[begin : begin + SLAB_ROWS]])

    @property
    def width(self) -> int:
        """Tokens in a row."""
        return self.settings.seq_len + 1 + self.settings.mtp_depth

    def _concat(self, shard: int, rows: int) -> np.ndarray:
        stage = self.settings
        begin, end = stream_span(shard * stage.rows_per_shard, rows, stage.seq_len, self.width)
        runs = Runs(entries_of_span(self.plan, begin, end), self.library)
        stream = np.full(end - begin, self.ids.pad, self.dtype)
        tokens = runs.tokens.copy()
        if shard + 1 == shard_count(stage.rows, stage.rows_per_shard):
            tokens[-1] = runs.left[-1]  # the stage's last row looks on into the document that the stage cuts
        skip = np.maximum(0, begin - runs.offset)
        count = np.minimum(tokens, end - runs.offset) - skip
        runs.copy(stream, skip, count, runs.offset + skip - begin, self.ids.end)
        return rows_of_stream(stream, rows, stage.seq_len, self.width)

    def _best_fit(self, shard: int, rows: int) -> np.ndarray:
        stage = self.settings
        runs = Runs(entries_of_shard(self.plan, shard), self.library)
        goes_on = runs.left > runs.tokens
        row, column = best_fit.place(runs.tokens + goes_on, rows, stage.seq_len + 1)
        assert bool((row >= 0).all())
        table = np.full((rows, self.width), self.ids.pad, self.dtype)
        count = np.where(goes_on, np.minimum(self.width, runs.left), runs.tokens)
        runs.copy(table.reshape(-1), np.zeros_like(count), count, row * self.width + column, self.ids.end)
        return table


def _check(settings: PackStep, mixture: Artifact, tokenizer: Artifact, tokens: tuple[Artifact, ...]) -> None:
    """Raise ArtifactError unless everything was made for and of each other."""
    for key in ("rows", "seq_len", "packing", "seed", "rows_per_shard"):
        planned = mixture.manifest.settings.get(key)
        if planned != getattr(settings, key):
            raise ArtifactError(
                f"{mixture.name} was planned with {key} {planned!r}, these shards with {getattr(settings, key)!r}; "
                "run the mixture step again"
            )
    for block in tokens:
        check_tokenizer(block, tokenizer.manifest.content, tokenizer.name)
    check_made_from(mixture, tokens)


def _is_kept(build: Build, shard: int) -> bool:
    name = shard_name(shard)
    return {f"{name}/{METADATA}", f"{name}/c/0/0"} <= build.kept
