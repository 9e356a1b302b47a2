"""JSON Schemas of the configuration files, for editors and for people."""

import json
from pathlib import Path

from pipeline.settings.base import Settings
from pipeline.settings.stage import StageSettings
from pipeline.settings.workflow import WorkflowSettings

SCHEMAS: dict[str, type[Settings]] = {"workflow.schema.json": WorkflowSettings, "stage.schema.json": StageSettings}


def schema_text(section: type[Settings]) -> str:
    """The JSON Schema of a section, as its file holds it."""
    return json.dumps(section.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema below a folder. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, section in SCHEMAS.items():
        (folder / name).write_text(schema_text(section), encoding="utf-8")
    return [folder / name for name in SCHEMAS]
