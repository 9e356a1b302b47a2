"""The embedded sample: real text that any machine with the project's environment has, in Dolma's format.

Equal versions of Python and of the packages give equal bytes.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.corpus.docstrings import docstrings
from pipeline.corpus.package_texts import licences, readmes
from pipeline.corpus.standard_library import language_reference, python_code
from pipeline.corpus.write import Text, write_documents

DOMAINS: dict[str, Callable[[int], Iterator[Text]]] = {
    "python_code": lambda text_bytes: python_code(),
    "docstrings": docstrings,
    "language_reference": lambda text_bytes: language_reference(),
    "readmes": lambda text_bytes: readmes(),
    "licences": lambda text_bytes: licences(),
}


def write_domain(path: Path, domain: str, text_bytes: int) -> dict[str, str]:
    """Write a domain's file, at most `text_bytes` of text. The versions of the packages that gave text are returned."""
    versions: dict[str, str] = {}

    def noted() -> Iterator[Text]:
        for text in _capped(DOMAINS[domain](text_bytes), text_bytes):
            versions[text.package] = text.version
            yield text

    path.parent.mkdir(parents=True, exist_ok=True)
    write_documents(path, domain, noted())
    return dict(sorted(versions.items()))


def _capped(texts: Iterator[Text], text_bytes: int) -> Iterator[Text]:
    """The texts that are not empty, each once, that fit into `text_bytes` one after another."""
    seen: set[bytes] = set()
    for text in texts:
        data = text.text.encode()
        hashed = hashlib.blake2b(data).digest()
        if text.text.strip() and hashed not in seen and len(data) <= text_bytes:
            seen.add(hashed)
            text_bytes -= len(data)
            yield text
