import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.artifact.code import ROOT
from pipeline.settings.schema import SCHEMAS, schema_text, write_schemas

CONFIG = ROOT / "config"
FOLDER = CONFIG / "schema"


def validator(name: str) -> Any:
    schema = json.loads((FOLDER / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_current(name: str) -> None:
    assert (FOLDER / name).read_text() == schema_text(SCHEMAS[name]), "write them anew with `python -m pipeline schema`"


def test_every_configuration_fits_its_schema() -> None:
    stages = sorted((CONFIG / "stages").glob("*.json"))
    workflows = sorted(CONFIG.glob("*.yaml"))
    assert stages
    assert workflows
    for path in stages:
        validator("stage.schema.json").validate(json.loads(path.read_text()))
    for path in workflows:
        validator("workflow.schema.json").validate(yaml.safe_load(path.read_text()))


def test_every_configuration_leads_an_editor_to_its_schema() -> None:
    for path in (CONFIG / "stages").glob("*.json"):
        assert (path.parent / json.loads(path.read_text())["$schema"]).resolve() == (
            FOLDER / "stage.schema.json"
        ).resolve()
    for path in CONFIG.glob("*.yaml"):
        assert path.read_text().startswith("# yaml-language-server: $schema=schema/workflow.schema.json\n")


def test_a_schema_refuses_an_unknown_key_and_describes_each_field() -> None:
    stage = json.loads((CONFIG / "stages/demo.json").read_text())
    stage["model"]["hidden_sise"] = 1
    (error,) = validator("stage.schema.json").iter_errors(stage)
    assert "hidden_sise" in error.message
    properties = json.loads((FOLDER / "stage.schema.json").read_text())["$defs"]["TrainingSettings"]["properties"]
    assert all(field["description"] for field in properties.values())


def test_schemas_are_written_where_asked(tmp_path: Path) -> None:
    written = write_schemas(tmp_path / "schema")
    assert sorted(path.name for path in written) == sorted(SCHEMAS)
    assert all(json.loads(path.read_text())["additionalProperties"] is False for path in written)
