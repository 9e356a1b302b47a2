"""Settings of the corpus: which domains, with which weights, from where, and how bad lines are treated."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

from pydantic import Field

from pipeline.settings.base import Settings, SettingsError, execution

MAX_LINE_BYTES = 80 << 20
"""Dolma has lines of up to 64 MiB of text; JSON escapes make them longer on disk."""
EMBEDDED_SHARES = {
    "python_code": 0.36,
    "docstrings": 0.54,
    "language_reference": 0.02,
    "readmes": 0.05,
    "licences": 0.03,
}
"""The domains of the embedded sample, and how its bytes are shared out: about as each of them has text."""


class Domain(Settings):
    """One source of text and its share of the training tokens."""

    weight: float = Field(ge=0, allow_inf_nan=False)
    """Its share of the training tokens, relative to the other domains' weights; 0 leaves it out of training."""
    description: str = ""
    """What the domain holds, for people."""
    subset: str | None = None
    """An optional label of the part of the source that is used."""
    paths: tuple[str, ...] = execution(())
    """With `corpus: local`: Dolma-format .json.gz files, or globs of them, in any number of folders."""


class CorpusSettings(Settings):
    """Where the text comes from, and how much of it may be unreadable."""

    corpus: Literal["embedded", "local"] = "embedded"
    """`embedded`: a sample of what is installed with the project; `local`: the files in `domains.<name>.paths`."""
    corpus_bytes: int = Field(24_000_000, gt=0)
    """With `corpus: embedded`: at most so many bytes of text, over all domains."""
    files_per_block: int = Field(50, ge=1)
    """Files in one block of a domain. A block is one job and one artifact."""
    max_bad_fraction: float = execution(0.001, ge=0, le=1)
    """The fraction of a block's lines that may be unreadable before its step refuses the block."""
    max_line_bytes: int = Field(MAX_LINE_BYTES, ge=1024)
    """A longer line is counted as bad and skipped without being held in memory."""


class Validation(Settings):
    """Which documents are kept out of training."""

    fraction: float = Field(0.01, ge=0, lt=1)
    """The fraction of documents, chosen by a hash of their text, that only validation sees."""
    seed: int = Field(0, ge=0)
    """Another seed chooses other documents."""


class DownloadStep(Settings):
    """What decides the content of one downloaded block."""

    corpus: Literal["embedded", "local"]
    domain: str
    block: str
    """The block's number within its domain, for instance `0000`."""
    files: tuple[str, ...]
    """The block's files, relative to their domain's common folder: moving the corpus leaves nothing stale."""
    text_bytes: int | None = None
    """With `corpus: embedded`: at most so many bytes of text."""
    sizes: tuple[int, ...] = ()
    """With `corpus: local`: the files' sizes, so that a file that was replaced is noticed."""
    paths: tuple[str, ...] = execution(())
    """With `corpus: local`: where the files lie now, in the order of `files`."""
    max_line_bytes: int = Field(MAX_LINE_BYTES, ge=1024)
    max_bad_fraction: float = execution(0.001, ge=0, le=1)
    """It decides whether there is a result, not which."""


def normalize_weights(domains: Mapping[str, Domain]) -> dict[str, float]:
    """The domains' weights scaled to a sum of 1.

    Raises SettingsError if there is no domain or if every weight is 0.
    """
    if not domains:
        raise SettingsError(
            "domains: there is none; write at least one, for instance `domains: {python_code: {weight: 1}}`"
        )
    # As they are written, not as binary fractions: 5, 3 and 2 are the same shares as 0.5, 0.3 and 0.2, to the last bit.
    weights = {name: Fraction(str(domain.weight)) for name, domain in domains.items()}
    total = sum(weights.values())
    if total <= 0:
        keys = ", ".join(f"domains.{name}.weight" for name in domains)
        raise SettingsError(
            f"{keys}: every weight is 0, so there is nothing to train on; give at least one a positive weight"
        )
    return {name: float(weight / total) for name, weight in weights.items()}


def embedded_bytes(domain: str, corpus_bytes: int) -> int:
    """How many bytes of text a domain of the embedded sample may have at most.

    Raises SettingsError if the embedded sample has no such domain.
    """
    if domain not in EMBEDDED_SHARES:
        raise SettingsError(
            f"domains.{domain}: the embedded sample has no such domain; "
            f"use {', '.join(EMBEDDED_SHARES)}, or set `corpus: local` and give the domain `paths`"
        )
    return int(corpus_bytes * EMBEDDED_SHARES[domain])
