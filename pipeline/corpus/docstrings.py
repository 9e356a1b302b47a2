"""Docstrings as prose: those of one module make one document. Read from the sources by `ast`; nothing is imported."""

import ast
import inspect
import platform
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from pipeline.corpus.packages import distributions, shuffled
from pipeline.corpus.standard_library import PACKAGE, modules, source_of, standard_library
from pipeline.corpus.write import Text

PACKAGES = (
    "tokenizers",
    "pyarrow",
    "pydantic",
    "zarr",
    "datasets",
    "matplotlib",
    "numpy",
    "networkx",
    "pandas",
    "sympy",
    "torch",
    "transformers",
)
"""From the smallest to the largest: what a small one leaves of its share goes to those after it."""
LEFT_OUT = frozenset({"tests", "test", "testing", "_vendor", "third_party"})
MIN_CHARACTERS = 200

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(text_bytes: int) -> Iterator[Text]:
    """Documents of docstrings, some from every package, `text_bytes` in all if the packages have so much.

    Parsing is most of the work, so that a package is read only as far as its share goes.
    """
    seen: set[str] = set()
    sources = [_standard_library(), *(_installed(name) for name in PACKAGES if name in distributions())]
    for position, files in enumerate(sources):
        share = text_bytes / (len(sources) - position)
        given = 0
        for path, package, version, name in files:
            text = module_text(source_of(path), _dotted(name), seen)
            if len(text) >= MIN_CHARACTERS:
                given += len(text.encode())
                if given > share:
                    given -= len(text.encode())
                    break
                yield Text(text, package, version, name)
        text_bytes -= given


def module_text(source: str, module: str, seen: set[str]) -> str:
    """The docstrings of a module's source under headings that say whose they are; empty if it has none.

    Docstrings in `seen` are left out, new ones are added to it: packages repeat them.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ""
    return "".join(f"{heading}\n\n{text}\n\n\n" for heading, text in _described(tree, module) if not _known(text, seen))


def _described(node: ast.Module | Definition, name: str) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node, clean=False)
    if text and text.strip():
        yield name + _arguments(node), inspect.cleandoc(text)
    if not isinstance(node, ast.Module | ast.ClassDef):
        return
    for child in node.body:
        if isinstance(child, Definition):
            yield from _described(child, f"{name}.{child.name}")


def _arguments(node: ast.AST) -> str:
    """The names of a function's arguments, as its heading shows them."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return ""
    given = node.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    names += [f"*{given.vararg.arg}"] if given.vararg else []
    names += [argument.arg for argument in given.kwonlyargs]
    names += [f"**{given.kwarg.arg}"] if given.kwarg else []
    return f"({', '.join(name for name in names if name not in ('self', 'cls'))})"


def _known(text: str, seen: set[str]) -> bool:
    known = text in seen
    seen.add(text)
    return known


def _dotted(path: str) -> str:
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _standard_library() -> Iterator[tuple[Path, str, str, str]]:
    for path in modules(for_docstrings=True):
        yield standard_library() / path, PACKAGE, platform.python_version(), path


def _installed(name: str) -> Iterator[tuple[Path, str, str, str]]:
    """The source files of a distribution's own package, in shuffled order."""
    distribution: Distribution = distributions()[name]
    found = (PurePosixPath(file) for file in distribution.files or ())
    kept = (str(path) for path in found if path.parts[0] == name and path.suffix == ".py" and _wanted(path))
    version = distribution.version  # parses the metadata at each access
    for path in shuffled(kept):
        yield Path(str(distribution.locate_file(path))), name, version, path


def _wanted(path: PurePosixPath) -> bool:
    return not LEFT_OUT.intersection(path.parts)
