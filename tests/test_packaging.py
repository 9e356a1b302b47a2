"""One place holds the pins, and everything that is imported is declared."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from typing import Any

import pytest
import yaml

from pipeline.artifact.code import ROOT, imports

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT: dict[str, Any] = yaml.safe_load((ROOT / "environment.yml").read_text())


def name_of(requirement: str) -> str:
    """The distribution of a requirement such as `torch==2.13.0` or `seekmake[test]`, as the registry spells it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


EXTRAS = {extra: [*map(name_of, wanted)] for extra, wanted in PROJECT["optional-dependencies"].items()}
REQUIRED = [*map(name_of, PROJECT["dependencies"])]


def third_party(folder: str) -> set[str]:
    """The modules of others that the files of a folder import."""
    names = {name for path in (ROOT / folder).rglob("*.py") for name in imports(path, folder)}
    roots = {name.split(".")[0] for name in names}
    own = {path.stem for path in (ROOT / folder).rglob("*.py")}
    return roots - set(sys.stdlib_module_names) - own - {"pipeline", ""}


def distributions(modules: set[str]) -> dict[str, set[str]]:
    known = packages_distributions()
    return {module: {name_of(name) for name in known.get(module, [])} for module in modules}


def test_the_environment_installs_this_project_and_pins_nothing_itself() -> None:
    conda = [one for one in ENVIRONMENT["dependencies"] if isinstance(one, str)]
    (pip,) = (one["pip"] for one in ENVIRONMENT["dependencies"] if isinstance(one, dict))
    assert pip == ["-e ."]
    assert [name_of(one) for one in conda] == ["python", "pip"]


def test_the_environments_python_is_one_that_the_project_takes() -> None:
    (python,) = (one for one in ENVIRONMENT["dependencies"] if str(one).startswith("python="))
    least = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["requires-python"])
    assert least
    assert tuple(map(int, python.removeprefix("python=").split("."))) >= tuple(map(int, least.groups()))
    assert sys.version_info >= tuple(map(int, least.groups()))


def test_what_decides_results_most_is_pinned() -> None:
    assert "torch==2.13.0" in PROJECT["dependencies"]
    assert "deepspeed" in REQUIRED
    assert all(re.search(r"[<>=]", requirement) for requirement in PROJECT["dependencies"])


def test_the_extras_are_there() -> None:
    assert {"test", "dev", "wandb", "harness"} <= set(EXTRAS)
    assert {"pytest", "hypothesis"} <= set(EXTRAS["test"])
    assert {"seekmake", "ruff", "mypy", "snakefmt"} <= set(EXTRAS["dev"])
    assert (EXTRAS["wandb"], EXTRAS["harness"]) == (["wandb"], ["lm-eval"])


def test_everything_the_product_imports_is_declared() -> None:
    declared = {*REQUIRED, *EXTRAS["wandb"], *EXTRAS["harness"]}
    optional = {name.replace("-", "_") for name in (*EXTRAS["wandb"], *EXTRAS["harness"])}
    missing = {
        module: names
        for module, names in distributions(third_party("pipeline") - optional).items()
        if not names & declared
    }
    assert missing == {}


def test_everything_the_tests_import_is_declared() -> None:
    declared = {*REQUIRED, *EXTRAS["test"]}
    missing = {module: names for module, names in distributions(third_party("tests")).items() if not names & declared}
    assert missing == {}


@pytest.mark.parametrize("extra", EXTRAS)
def test_no_extra_repeats_a_requirement(extra: str) -> None:
    assert not set(EXTRAS[extra]) & set(REQUIRED)


def test_the_licence_is_apache() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_version_stands_in_pyproject_alone() -> None:
    """In the package it would be part of every step's code, and a release would make everything stale."""
    assert "version" not in (ROOT / "pipeline" / "__init__.py").read_text()
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
