"""The step `tokenize`: a block of raw files to token ids, document offsets and an index, by split."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.corpus.records import BadRecords
from pipeline.settings.tokens import TokenizeStep
from pipeline.shards.array import ArrayWriter, write_array, write_group
from pipeline.shards.layout import GROUP, INDEX, SPLITS, id_type
from pipeline.shards.tokenize_file import (
    INDEX_SCHEMA,
    FileCounts,
    FileJob,
    TokenFormat,
    probe_of,
    tokenize_file,
)
from pipeline.shards.workers import run_jobs

PROCESS_BYTES = 16 << 20
"""Raw bytes for which another process pays: it takes about as long to start as these to encode."""


def tokenize(settings: TokenizeStep, build: Build) -> dict[str, Any]:
    """Encode the block `raw` with `tokenizer`: a Zarr group with the arrays of each split, and an index of documents.

    Documents stand in the order of files and lines, whatever the number of workers. Raises ArtifactError if a file
    is not what its manifest says or cannot be read, or if too many of its lines are unreadable.
    """
    raw = build.one("raw")
    tokenizer = build.one("tokenizer")
    parts = build.folder / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    jobs = _jobs(settings, raw, tokenizer, parts)
    form = TokenFormat.of(tokenizer.path("tokenizer.json"))
    raw_bytes = sum(job.path.stat().st_size for job in jobs)
    results = run_jobs(tokenize_file, jobs, min(build.workers, 1 + raw_bytes // PROCESS_BYTES))
    progress = tqdm(zip(jobs, results, strict=True), total=len(jobs), desc=raw.name, mininterval=1, disable=None)
    found = _join(build.folder / GROUP, build.folder / INDEX, form, progress)
    shutil.rmtree(parts)
    bad = BadRecords()
    for one in found:
        bad.add_all(one.bad)
    bad.check(sum(sum(one.documents) for one in found), settings.max_bad_fraction, raw.name)
    return _counts(form, found, bad)


def _jobs(settings: TokenizeStep, raw: Artifact, tokenizer: Artifact, parts: Path) -> list[FileJob]:
    names = raw.paths(suffix=".json.gz")
    if not names:
        raise ArtifactError(f"{raw.name} holds no .json.gz file; run the download step again")
    sums = {entry.path: entry.sha256 for entry in raw.manifest.files}
    (tokenizer_sum,) = (entry.sha256 for entry in tokenizer.manifest.files if entry.path == "tokenizer.json")
    probe = probe_of(raw.path(names[0]))
    return [
        FileJob(
            path=raw.path(name),
            relative=name,
            sha256=sums[name],
            parts=parts,
            number=number,
            tokenizer=tokenizer.path("tokenizer.json"),
            tokenizer_sha256=tokenizer_sum,
            probe=probe,
            settings=settings,
        )
        for number, name in enumerate(names)
    ]


def _join(
    group: Path, index: Path, form: TokenFormat, results: Iterable[tuple[FileJob, FileCounts]]
) -> list[FileCounts]:
    """Append the files' parts in order, each removed once it is in; the counts of each file."""
    found: list[FileCounts] = []
    tokens = [ArrayWriter(group / split / "tokens", id_type(form.vocabulary)) for split in SPLITS]
    offsets = [ArrayWriter(group / split / "offsets", "int64") for split in SPLITS]
    with (
        tokens[0],
        tokens[1],
        offsets[0],
        offsets[1],
        pq.ParquetWriter(index, INDEX_SCHEMA, compression="zstd") as rows,
    ):
        for writer in offsets:
            writer.append(np.zeros(1, np.int64))
        before = np.zeros(len(SPLITS), np.int64)
        for job, counts in results:
            _append_index(rows, job.part("index"), before)
            for number, split in enumerate(SPLITS):
                lengths = np.fromfile(job.part(f"{split}.lengths"), "<i8")
                offsets[number].append(tokens[number].length + np.cumsum(lengths))
                tokens[number].append_file(job.part(f"{split}.tokens"))
                before[number] += len(lengths)
            for kind in ("index", *(f"{split}.{part}" for split in SPLITS for part in ("tokens", "lengths"))):
                job.part(kind).unlink()
            found.append(counts)
    write_array(group / "train" / "histogram", np.sum([one.histogram for one in found], axis=0))
    for split in SPLITS:
        write_group(group / split)
    write_group(group, {"vocabulary": form.vocabulary})
    return found


def _append_index(rows: pq.ParquetWriter, part: Path, before: np.ndarray) -> None:
    """Add a file's index; its documents' numbers go on from those before it in the block."""
    with pa.memory_map(str(part)) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            side = batch.column("split").indices.to_numpy()
            shifted = pa.array(batch.column("document").to_numpy() + before[side])
            rows.write_batch(batch.set_column(1, INDEX_SCHEMA.field("document"), shifted))


def _counts(form: TokenFormat, found: list[FileCounts], bad: BadRecords) -> dict[str, Any]:
    def by_split(name: str) -> dict[str, int]:
        return {split: sum(getattr(one, name)[number] for one in found) for number, split in enumerate(SPLITS)}

    reports: list[dict[str, Any]] = []
    for one in found:
        if one.encoder not in reports:
            reports.append(one.encoder)
    return {
        "files": len(found),
        "documents": by_split("documents"),
        "tokens": by_split("tokens"),
        "text_bytes": by_split("text_bytes"),
        "bad_lines": dict(bad.counts),
        "bad_examples": list(bad.examples),
        "vocabulary": form.vocabulary,
        "encoder": reports,
    }
