"""The digest of a step's code: its import closure, without comments, docstrings and formatting.

Read from the source by `ast`; nothing is imported or run, so it costs milliseconds and works where torch is absent.
An import made by name at run time (`importlib.import_module`) escapes it: so the wording of errors stays out.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.artifact.canonical import digest

PACKAGE = "pipeline"
ROOT = Path(__file__).resolve().parents[2]


def code_files(module: str, root: Path = ROOT) -> dict[str, str]:
    """The digest of every first-party file that a module imports, itself among them, by path below `root`."""
    paths = [_path(name, root) for name in _closure(module, root)]
    return {str(path.relative_to(root)): _digest_of_file(path) for path in paths}


def code_digest(files: dict[str, str]) -> str:
    """One digest for a closure's files."""
    return digest(files)


def imports(path: Path, package: str) -> tuple[str, ...]:
    """The modules that a source file imports, as absolute dotted names (also those within functions)."""
    return tuple(name for line in _read(path, path.stat().st_mtime_ns).imports for name in _absolute(line, package))


class _Import(NamedTuple):
    """One import statement: `from` a module so many levels up, or plainly (then there are only names)."""

    level: int
    module: str | None
    names: tuple[str, ...]


class _Source(NamedTuple):
    """What counts of a source file. Not its syntax tree, which takes a hundred times as much memory."""

    digest: str
    imports: tuple[_Import, ...]


@cache
def _read(path: Path, mtime_ns: int) -> _Source:
    tree = ast.parse(path.read_bytes())
    digest = hashlib.sha256(_outline(tree).encode()).hexdigest()
    return _Source(digest, tuple(line for node in ast.walk(tree) for line in _imported(node)))


def _imported(node: ast.AST) -> Iterator[_Import]:
    if isinstance(node, ast.Import):
        yield _Import(0, None, tuple(alias.name for alias in node.names))
    elif isinstance(node, ast.ImportFrom):
        yield _Import(node.level, node.module or "", tuple(alias.name for alias in node.names))


def _absolute(line: _Import, package: str) -> Iterator[str]:
    if line.module is None:
        yield from line.names
        return
    base = importlib.util.resolve_name("." * line.level + line.module, package) if line.level else line.module
    yield base
    yield from (f"{base}.{name}" for name in line.names)


def _closure(module: str, root: Path) -> list[str]:
    seen: set[str] = set()
    waiting = list(_with_parents(module))
    while waiting:
        name = waiting.pop()
        if name not in seen and _exists(name, root):
            seen.add(name)
            waiting.extend(_first_party(name, root))
    return sorted(seen)


def _first_party(module: str, root: Path) -> Iterable[str]:
    path = _path(module, root)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for name in imports(path, package):
        if name == PACKAGE or name.startswith(PACKAGE + "."):
            yield from _with_parents(name)


def _with_parents(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts)))


def _path(module: str, root: Path) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _exists(module: str, root: Path) -> bool:
    return _path(module, root).is_file()


def _digest_of_file(path: Path) -> str:
    return _read(path, path.stat().st_mtime_ns).digest


def _outline(node: Any) -> str:
    """Write a syntax tree so that every Python version from 3.11 on writes the same (`ast.dump` does not)."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if name not in ("kind", "type_comment"))
        filled = (
            f"{name}={_outline(value)}"
            for name, value in fields
            if value != [] and (value is not None or name == "value")
        )
        return f"{type(node).__name__}({','.join(filled)})"
    if isinstance(node, list):
        # Strings that stand alone are docstrings: of modules, classes, functions and attributes.
        return f"[{','.join(_outline(item) for item in node if not _is_bare_string(item))}]"
    return repr(node)


def _is_bare_string(line: ast.AST) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
