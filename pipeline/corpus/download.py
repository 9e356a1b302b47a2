"""The step `download`: one block of a domain's files, fetched and read through once."""

from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.corpus.embedded import write_domain
from pipeline.corpus.local import take_file
from pipeline.corpus.records import BadRecords, read_documents
from pipeline.settings.corpus import DownloadStep

FILES = "files"
"""Where the block's files lie in the artifact, in the folders they came with."""


class FileCount(NamedTuple):
    """What one file holds."""

    documents: int
    text_bytes: int
    bad: BadRecords


def download(settings: DownloadStep, build: Build) -> dict[str, Any]:
    """Put the block's .json.gz files below `files/`, read every line of them, and count.

    Raises ArtifactError if a file is damaged, if too many lines are unreadable, or if there is no document at all.
    """
    folder = build.folder / FILES
    counts: dict[str, Any] = {}
    if settings.corpus == "embedded":
        assert settings.text_bytes is not None
        (name,) = settings.files
        counts["packages"] = write_domain(folder / name, settings.domain, settings.text_bytes)
    else:
        _take_local(settings, build, folder)
    progress = tqdm(
        settings.files, desc=f"{settings.domain}/{settings.block}", unit="file", mininterval=1, disable=None
    )
    read = {name: count_file(folder / name, settings.max_line_bytes) for name in progress}
    return counts | _summary(settings, read)


def _take_local(settings: DownloadStep, build: Build, folder: Path) -> None:
    """Take the local files that are not there yet."""
    paths = build.execution["paths"]
    asked = zip(settings.files, paths, settings.sizes, strict=True)
    missing = [one for one in asked if f"{FILES}/{one[0]}" not in build.kept]
    for name, path, size in missing:
        take_file(folder / name, Path(path), size)


def count_file(path: Path, max_line_bytes: int) -> FileCount:
    """Read a file through once, and count its documents, their bytes of text (UTF-8), and its bad lines.

    Raises ArtifactError if it is damaged: a whole gzip stream ends with a checksum that fits.
    """
    bad = BadRecords()
    documents = text_bytes = 0
    for document in read_documents(path, bad, max_line_bytes):
        documents += 1
        text_bytes += len(document.text) if document.text.isascii() else len(document.text.encode())
    return FileCount(documents, text_bytes, bad)


def _summary(settings: DownloadStep, read: dict[str, FileCount]) -> dict[str, Any]:
    """The block's counts, and each file's.

    Raises ArtifactError if too many lines are bad or if there is no document.
    """
    where = f"domain {settings.domain}, block {settings.block}"
    bad = BadRecords()
    for file in read.values():
        bad.add_all(file.bad)
    documents = sum(file.documents for file in read.values())
    bad.check(documents, settings.max_bad_fraction, where)
    if not documents:
        way_out = "raise corpus_bytes" if settings.corpus == "embedded" else f"correct domains.{settings.domain}.paths"
        raise ArtifactError(f"{where}: there is no document in {', '.join(read)}; {way_out}, or take the domain out")
    return {
        "documents": documents,
        "text_bytes": sum(file.text_bytes for file in read.values()),
        "bad_lines": bad.counts,
        "bad_examples": bad.examples,
        "by_file": {
            f"{FILES}/{name}": {"documents": file.documents, "text_bytes": file.text_bytes}
            for name, file in read.items()
        },
    }
