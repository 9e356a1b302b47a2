"""The README tells the truth about the tree, the commands and the steps."""

import re
import subprocess
from pathlib import Path

import pytest

from pipeline.steps import STEPS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def tree_lines() -> list[str]:
    block = README.split("## The tree", 1)[1].split("```text\n", 1)[1].split("```", 1)[0]
    return block.splitlines()


def listed_paths() -> dict[str, str]:
    """The paths in the README's tree, with the words beside them."""
    found, folders = {}, []
    for line in tree_lines():
        name, _, words = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        path = "".join(folders[:depth]) + name
        folders = [*folders[:depth], name]
        found[path] = words.strip()
    return found


def is_shown(path: str) -> bool:
    """Test files and captions are told of by their folder, packages' empty files by their package."""
    return not path.startswith(("tests/", "workflow/report/")) and Path(path).name not in ("__init__.py", ".gitignore")


def test_the_tree_has_a_line_for_every_file_and_for_no_other() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    listed = listed_paths()
    assert {path for path in tracked if is_shown(path)} == {path for path in listed if not path.endswith("/")}
    assert all(words for path, words in listed.items() if not path.endswith("/"))


@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_in_the_picture_and_in_the_table(step: str) -> None:
    picture = README.split("```mermaid", 1)[1].split("```", 1)[0]
    assert re.search(rf"\b{step}\b", picture)
    assert f"| {step} |" in README


def test_the_two_commands_are_those_that_are_tested() -> None:
    assert "pip install -e . && snakemake --profile profiles/local\n" in README
    assert "pip install -e '.[test]' && pytest\n" in README
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("pytest")


def test_links_lead_to_files_that_are_there() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
