"""Packages import one way, modules not in circles, and what runs at parse time stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.artifact.code import ROOT, imports

ORDER = (
    "settings", "artifact", "corpus", "tokenizer", "shards", "model", "evaluate", "train", "export", "report",
    "steps", "nodes", "graph", "allocation", "manage", "__main__",
)  # fmt: skip
"""A package imports only itself and what stands left of it."""
MODULES = sorted((ROOT / "pipeline").rglob("*.py"))
HEAVY = ("torch", "snakemake", "transformers", "tokenizers", "pyarrow", "zarr", "numpy", "pandas", "matplotlib")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in MODULES}


def imported(path: Path) -> Iterator[str]:
    """The modules of the package, and the roots of others, that a file imports."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for name in imports(path, package):
        if name.split(".")[0] != "pipeline":
            yield name.split(".")[0]
        elif name in NAMES:
            yield name


def rank(module: str) -> int:
    """How far right a module stands. The package itself holds only a version, and stands left of all."""
    part = module.split(".")[1:2]
    return ORDER.index(part[0]) if part else -1


def test_every_module_has_its_place_in_the_order() -> None:
    assert {name.split(".")[1] for name in NAMES if "." in name} == set(ORDER)


@pytest.mark.parametrize("name", NAMES)
def test_a_package_imports_only_what_stands_left_of_it(name: str) -> None:
    to_the_right = [other for other in imported(NAMES[name]) if other in NAMES and rank(other) > rank(name)]
    assert to_the_right == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {name: {other for other in imported(path) if other in NAMES} - {name} for name, path in NAMES.items()}
    while leaves := [name for name, others in graph.items() if not others]:
        graph = {name: others.difference(leaves) for name, others in graph.items() if name not in leaves}
    assert graph == {}, "these modules stand in a circle, or need one that does"


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.startswith(("pipeline.settings", "pipeline.artifact"))]
)
def test_settings_and_artifacts_need_neither_torch_nor_snakemake(name: str) -> None:
    assert not {"torch", "snakemake", "transformers", "numpy"} & set(imported(NAMES[name]))


def test_no_module_is_imported_by_a_name_that_is_made_up_at_run_time() -> None:
    """Such an import would escape the digest of a step's code. The command line looks a step up by its name,
    and the wording of errors is kept out of every step's code on purpose."""
    calls = {
        name: [node for node in ast.walk(ast.parse(path.read_text())) if is_dynamic(node)]
        for name, path in NAMES.items()
    }
    assert [name for name, found in calls.items() if found] == [
        "pipeline.__main__",
        "pipeline.settings.base",
    ]


def is_dynamic(node: ast.AST) -> bool:
    names = ("import_module", "__import__", "exec", "run_module", "run_path")
    called = node.func if isinstance(node, ast.Call) else None
    return (isinstance(called, ast.Attribute) and called.attr in names) or (
        isinstance(called, ast.Name) and called.id in names
    )


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=name_of)
def test_packages_hold_a_docstring_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


def test_every_module_begins_with_a_docstring() -> None:
    assert [name for name, path in NAMES.items() if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_the_tests_mirror_the_packages() -> None:
    packages = {path.parent.name for path in MODULES if path.name == "__init__.py"} - {"pipeline", "figures"}
    assert {name for name in packages if not list((ROOT / "tests" / name).glob("test_*.py"))} == set()


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_planning_the_demo_imports_nothing_heavy() -> None:
    """`snakemake -n` reads the settings and builds the graph: in a moment, on a laptop, without torch."""
    code = (
        "import sys; from pathlib import Path\n"
        "import pipeline.__main__\n"
        "from pipeline.graph import Graph\n"
        "from pipeline.settings.project import read_project\n"
        "graph = Graph(read_project(Path('config/demo.yaml'), {'results': 'never-made'}))\n"
        "print(len(graph.nodes), *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    nodes, *loaded = done.stdout.split()
    assert int(nodes) >= 15
    assert set(HEAVY) & set(loaded) == set()
