"""config/README.md names every key, its default and what it decides, and no key that is not there."""

import json
import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.artifact.code import ROOT
from pipeline.settings.base import is_execution
from pipeline.settings.stage import StageSettings
from pipeline.settings.workflow import WorkflowSettings

TEXT = (ROOT / "config/README.md").read_text()
FOR_PEOPLE = ("description", "subset", "$schema")


class Row(NamedTuple):
    """What a table says of a key."""

    default: str
    decides: str


def rows(text: str) -> dict[str, Row]:
    cells = [re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("| `")]
    assert all(len(row) == 7 for row in cells)
    return {row[1].strip(" `"): Row(row[3].strip(), row[5].strip()) for row in cells}


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def keys(section: type[BaseModel], where: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key that takes a value, with its path as the tables write it."""
    for name, field in section.model_fields.items():
        path = f"{where}{field.alias or name}"
        inner = field.annotation
        if isinstance(inner, UnionType):
            inner = next(one for one in get_args(inner) if one is not type(None))
        if is_section(inner):
            yield from keys(inner, f"{path}.")
        elif get_origin(inner) is dict:
            yield from keys(get_args(inner)[1], f"{path}.<name>.")
        elif get_origin(inner) is tuple and is_section(get_args(inner)[0]):
            yield from keys(get_args(inner)[0], f"{path}[].")
        else:
            yield path, field


WORKFLOW, STAGE = TEXT.split("## A stage:")


@pytest.mark.parametrize(("text", "section"), [(WORKFLOW, WorkflowSettings), (STAGE, StageSettings)])
def test_every_key_has_its_row_and_every_row_its_key(text: str, section: type[BaseModel]) -> None:
    assert sorted(rows(text)) == sorted(path for path, _ in keys(section))


@pytest.mark.parametrize(("path", "field"), [*keys(WorkflowSettings), *keys(StageSettings)])
def test_a_row_tells_the_default_and_what_the_key_decides(path: str, field: FieldInfo) -> None:
    row = rows(WORKFLOW if path in dict(keys(WorkflowSettings)) else STAGE)[path]
    assert row.default == ("**required**" if field.is_required() else f"`{json.dumps(field.default)}`")
    for_people = path.split(".")[-1] in FOR_PEOPLE
    assert row.decides == ("people" if for_people else "execution" if is_execution(field) else "identity")


def test_the_example_of_a_local_corpus_is_right() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    workflow = WorkflowSettings.parse(yaml.safe_load(example))
    assert workflow.corpus == "local"
    assert all(domain.paths for domain in workflow.domains.values())
