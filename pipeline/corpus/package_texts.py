"""Texts that distributions carry beside their code: readmes and licences."""

import hashlib
import platform
import re
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

from pipeline.corpus.packages import distributions, shuffled
from pipeline.corpus.standard_library import PACKAGE, standard_library
from pipeline.corpus.write import Text

LICENCE = re.compile(r"(licen[cs]e|copying|notice|copyright)([-_.].*)?", re.IGNORECASE)
HOLDER = re.compile(r"\W*(copyright\b(?! notice)|\(c\)|\u00a9|all rights reserved)")
MIN_WORDS = 7
"""A shorter line before the first of this length is a title."""
NOT_TEXT = frozenset({".py", ".pyc", ".json", ".html", ".xml"})
MIN_CHARACTERS = 200


def readmes() -> Iterator[Text]:
    """The distributions' long descriptions."""
    for name in shuffled(distributions()):
        distribution = distributions()[name]
        text = _long_description(distribution).strip()
        if len(text) >= MIN_CHARACTERS:
            yield Text(text + "\n", name, distribution.version, "README")


def licences() -> Iterator[Text]:
    """Licence texts. Of those that differ only in the copyright holder or in layout, the first is given."""
    seen: set[bytes] = set()
    for name, version, path, place in _licence_files():
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        words = wording(text)
        if len(text) >= MIN_CHARACTERS and words not in seen:
            seen.add(words)
            yield Text(text + "\n", name, version, place)


def _long_description(distribution: Distribution) -> str:
    return str(distribution.metadata.json.get("description") or "")


def _licence_files() -> Iterator[tuple[str, str, Path, str]]:
    """Package, version, path and place of every licence file; Python's own first."""
    own = standard_library() / "LICENSE.txt"
    if own.is_file():
        yield PACKAGE, platform.python_version(), own, own.name
    for name, distribution in distributions().items():
        files = {str(file): file for file in distribution.files or () if _is_licence(file.name)}
        version = distribution.version  # parses the metadata at each access
        for place in shuffled(files):
            path = Path(str(distribution.locate_file(files[place])))
            if path.is_file():
                yield name, version, path, place


def _is_licence(name: str) -> bool:
    return bool(LICENCE.fullmatch(name)) and Path(name).suffix not in NOT_TEXT


def wording(text: str) -> bytes:
    """A digest of a licence's letters, without its title and the lines that name a copyright holder."""
    lines = [line for line in text.lower().splitlines() if not HOLDER.match(line)]
    start = next((number for number, line in enumerate(lines) if len(line.split()) >= MIN_WORDS), 0)
    return hashlib.blake2b(re.sub(r"[^a-z]+", "", "".join(lines[start:])).encode()).digest()
