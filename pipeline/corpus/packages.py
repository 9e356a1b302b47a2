"""The installed distributions that the embedded sample is made of: the project's dependencies and theirs.

Found from a fixed list and the metadata of what it names: a tool that happens to be installed changes nothing.
"""

import hashlib
import importlib.metadata
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import Distribution
from typing import TypeVar

from packaging.requirements import Requirement

ROOTS = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "pandas",
    "pyarrow",
    "zarr",
    "pydantic",
    "msgspec",
    "isal",
    "matplotlib",
    "tensorboard",
    "deepspeed",
    "snakemake",
)
"""What the project imports or runs; the rest follows from their requirements."""

Named = TypeVar("Named")


@lru_cache(maxsize=1)
def distributions() -> dict[str, Distribution]:
    """The installed ones among the project's direct and indirect dependencies, by normalised name, in order."""
    found: dict[str, Distribution] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in ROOTS]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # not for this platform, or left out of this environment: the manifest lists what is there
        waiting.extend(_requirements(found[name], extras))
    return dict(sorted(found.items()))


def shuffled(names: Iterable[str]) -> list[str]:
    """The names in an order that depends on each name alone, so that a prefix is a fair sample."""
    return sorted(names, key=lambda name: (hashlib.blake2b(name.encode()).digest(), name))


def _requirements(distribution: Distribution, extras: frozenset[str]) -> Iterable[tuple[str, frozenset[str]]]:
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield re.sub(r"[-_.]+", "-", requirement.name).lower(), frozenset(requirement.extras)
