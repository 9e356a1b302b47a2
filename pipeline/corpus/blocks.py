"""The blocks of the corpus: which files make up which job. Known before anything runs, without network."""

import glob
import os
from pathlib import Path
from typing import NamedTuple

from pipeline.settings.base import SettingsError
from pipeline.settings.corpus import CorpusSettings, Domain, DownloadStep, embedded_bytes

SUFFIX = ".json.gz"


class Block(NamedTuple):
    """A group of a domain's files: one job, one artifact `raw/<domain>/<name>`."""

    domain: str
    name: str
    """Its number within the domain, for instance `0000`."""
    step: DownloadStep
    """The settings of the step that downloads it."""


def blocks_of(corpus: CorpusSettings, name: str, domain: Domain, root: Path = Path()) -> tuple[Block, ...]:
    """The blocks of one domain. Relative `paths` of a local corpus are looked for below `root`.

    Raises SettingsError if the domain is unknown to the embedded sample, or if local files are missing.
    """
    if corpus.corpus == "embedded":
        return (_embedded_block(corpus, name),)
    paths = _expand(name, domain, root)
    common = Path(os.path.commonpath([path.parent for path in paths]))
    size = corpus.files_per_block
    groups = (paths[start : start + size] for start in range(0, len(paths), size))
    return tuple(_local_block(corpus, name, f"{number:04}", group, common) for number, group in enumerate(groups))


def _embedded_block(corpus: CorpusSettings, domain: str) -> Block:
    """The embedded sample is small: every domain is one block of one file."""
    step = DownloadStep(
        corpus="embedded",
        domain=domain,
        block="0000",
        files=(f"{domain}-0000{SUFFIX}",),
        text_bytes=embedded_bytes(domain, corpus.corpus_bytes),
        max_line_bytes=corpus.max_line_bytes,
        max_bad_fraction=corpus.max_bad_fraction,
    )
    return Block(domain, step.block, step)


def _local_block(corpus: CorpusSettings, domain: str, name: str, paths: list[Path], common: Path) -> Block:
    step = DownloadStep(
        corpus="local",
        domain=domain,
        block=name,
        files=tuple(path.relative_to(common).as_posix() for path in paths),
        sizes=tuple(path.stat().st_size for path in paths),
        paths=tuple(map(str, paths)),
        max_line_bytes=corpus.max_line_bytes,
        max_bad_fraction=corpus.max_bad_fraction,
    )
    return Block(domain, name, step)


def _expand(name: str, domain: Domain, root: Path) -> list[Path]:
    """The files that a domain's `paths` name, absolute, each once, in order."""
    key = f"domains.{name}.paths"
    if not domain.paths:
        raise SettingsError(f"{key}: `corpus: local` needs files; write paths or globs of Dolma-format {SUFFIX} files")
    found: set[Path] = set()
    for pattern in domain.paths:
        # Links are kept: a corpus of links into a store keeps its own names.
        matched = [Path(os.path.normpath(path)) for path in _match(root.absolute(), pattern)]
        if not matched:
            raise SettingsError(f"{key}: {pattern!r} names no file below {root.absolute()}; correct it or take it out")
        found.update(matched)
    wrong = sorted(path for path in found if not path.name.endswith(SUFFIX))
    if wrong:
        raise SettingsError(f"{key}: {wrong[0]} is no {SUFFIX} file; name Dolma-format {SUFFIX} files only")
    return sorted(found)


def _match(root: Path, pattern: str) -> list[Path]:
    if glob.has_magic(pattern) and not (root / pattern).is_file():
        found = glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207  # takes absolute patterns too
        return [root / path for path in found if (root / path).is_file()]
    return [root / pattern] if (root / pattern).is_file() else []
