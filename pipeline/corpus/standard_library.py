"""Texts of the standard library: its sources, and the language reference it carries for `help()`."""

import hashlib
import platform
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from pydoc_data.topics import topics

from pipeline.corpus.packages import shuffled
from pipeline.corpus.write import Text

PACKAGE = "python"
LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "turtledemo", "lib2to3", "encodings", "pydoc_data"}
)
"""Other people's packages, tests, applications, tables of code points, and the language reference itself."""
DOCSTRING_SHARE = 1 / 8
"""Modules that give their docstrings to `docstrings` and not their sources to `python_code`: no text is in both."""


def python_code() -> Iterator[Text]:
    """The sources of the standard library, one document a module."""
    for path in modules(for_docstrings=False):
        yield Text(source_of(standard_library() / path), PACKAGE, platform.python_version(), path)


def language_reference() -> Iterator[Text]:
    """The topics of the language reference, one document each."""
    for name in shuffled(topics):
        yield Text(topics[name].strip() + "\n", PACKAGE, platform.python_version(), f"pydoc_data/topics/{name}")


def standard_library() -> Path:
    """The folder of the standard library."""
    return Path(sysconfig.get_path("stdlib"))


def modules(for_docstrings: bool) -> list[str]:
    """The modules' paths below the standard library, in shuffled order: one part for docstrings, one for sources."""
    root = standard_library()
    found = (path.relative_to(root).as_posix() for path in root.rglob("*.py"))
    kept = (path for path in found if not LEFT_OUT.intersection(PurePosixPath(path).parts))
    return shuffled(path for path in kept if _gives_docstrings(path) == for_docstrings)


def source_of(path: Path) -> str:
    """A source file's text, in the encoding that it declares; empty if it is not in that encoding."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        return ""


def _gives_docstrings(path: str) -> bool:
    hashed = hashlib.blake2b(path.encode(), digest_size=8, person=b"docstrings").digest()
    return int.from_bytes(hashed, "little") < DOCSTRING_SHARE * 2.0**64
