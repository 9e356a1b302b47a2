from pathlib import Path

import pytest

from pipeline.artifact.code import ROOT, code_digest, code_files


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    (folder / "part").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "part" / "__init__.py").write_text("")
    (folder / "part" / "step.py").write_text(
        '"""A step."""\n\nfrom pipeline.part.helper import add\n\n\n'
        'def step(x):\n    """Add."""\n    return add(x, 1)\n'
    )
    (folder / "part" / "helper.py").write_text("def add(a, b):\n    return a + b\n")
    (folder / "part" / "other.py").write_text("OTHER = 1\n")
    return tmp_path


def digest_of(root: Path) -> str:
    return code_digest(code_files("pipeline.part.step", root))


def test_the_closure_is_what_the_step_imports_and_the_packages_above(package: Path) -> None:
    assert sorted(code_files("pipeline.part.step", package)) == [
        "pipeline/__init__.py",
        "pipeline/part/__init__.py",
        "pipeline/part/helper.py",
        "pipeline/part/step.py",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\ndef add(a, b):\n    return a + b  # another\n",
        'def add(a, b):\n    """Add two numbers."""\n    return a + b\n',
        "def add(\n    a,\n    b,\n):\n\n    return (a + b)\n",
    ],
)
def test_comments_docstrings_and_formatting_do_not_change_the_digest(package: Path, text: str) -> None:
    before = digest_of(package)
    (package / "pipeline/part/helper.py").write_text(text)
    assert digest_of(package) == before


@pytest.mark.parametrize("text", ["def add(a, b):\n    return b + a\n", "def add(a, b=None):\n    return a + b\n"])
def test_a_change_of_meaning_below_the_step_changes_the_digest(package: Path, text: str) -> None:
    before = digest_of(package)
    (package / "pipeline/part/helper.py").write_text(text)
    assert digest_of(package) != before


def test_a_file_that_the_step_does_not_import_is_not_part_of_it(package: Path) -> None:
    before = digest_of(package)
    (package / "pipeline/part/other.py").write_text("OTHER = 2\n")
    assert digest_of(package) == before


def test_an_import_within_a_function_and_a_relative_one_are_seen(package: Path) -> None:
    (package / "pipeline/part/helper.py").write_text(
        "def add(a, b):\n    from .other import OTHER\n    return a + b + OTHER\n"
    )
    assert "pipeline/part/other.py" in code_files("pipeline.part.step", package)


def test_none_as_a_default_differs_from_no_default(package: Path) -> None:
    (package / "pipeline/part/helper.py").write_text("def add(a, b):\n    return None\n")
    before = digest_of(package)
    (package / "pipeline/part/helper.py").write_text("def add(a, b):\n    return\n")
    assert digest_of(package) != before


def test_every_step_of_the_product_has_a_closure_that_leaves_the_command_line_out() -> None:
    from pipeline.steps import STEPS

    for step in STEPS.values():
        files = code_files(step.module, ROOT)
        assert step.module.replace(".", "/") + ".py" in files
        assert "pipeline/__main__.py" not in files
