"""The workflow's settings and those of all its stages, read and checked together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.settings.base import SettingsError
from pipeline.settings.corpus import normalize_weights
from pipeline.settings.stage import StageSettings
from pipeline.settings.workflow import WorkflowSettings


@dataclass(frozen=True)
class Project:
    """Everything a user wrote, checked."""

    workflow: WorkflowSettings
    stages: Mapping[str, StageSettings]

    def weights(self, stage: str) -> dict[str, float]:
        """The shares of a stage's tokens by domain, normalised to 1; domains of weight 0 are left out.

        The stage's own `data.sources` if it has any, else the workflow's domains.
        """
        sources = self.stages[stage].data.sources
        chosen = {
            source.name: self.workflow.domains[source.name].model_copy(update={"weight": source.weight})
            for source in sources
        }
        return {name: w for name, w in normalize_weights(chosen or self.workflow.domains).items() if w > 0}


def read_project(path: Path, overrides: Mapping[str, Any] | None = None, roots: Sequence[Path] = ()) -> Project:
    """Read a configuration file and its stages, as `snakemake --configfile path --config overrides` would.

    Raises SettingsError that names the file, the key, the value and the way out.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist; name a configuration such as config/demo.yaml") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise SettingsError(f"{path} holds {type(config).__name__}, not keys and values; see config/README.md")
    return load_project({**config, **(overrides or {})}, roots)


def load_project(config: Mapping[str, Any], roots: Sequence[Path] = ()) -> Project:
    """Check a configuration and read its stages' files, looked for below each of `roots` (default: here).

    Raises SettingsError that names the key, the value and the way out.
    """
    workflow = WorkflowSettings.parse(config)
    normalize_weights(workflow.domains)
    folders = [root / workflow.stages_folder for root in (roots or [Path()])]
    project = Project(workflow, {name: _read_stage(name, folders) for name in workflow.stages})
    for name, stage in project.stages.items():
        _check(project, name, stage)
    return project


def _read_stage(name: str, folders: Sequence[Path]) -> StageSettings:
    path = next((folder / f"{name}.json" for folder in folders if (folder / f"{name}.json").is_file()), None)
    if path is None:
        raise SettingsError(f"stages: {name!r} has no file {folders[0] / name}.json; write it, or correct the name")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"{path} is not JSON: {error}; correct it there") from None
    return StageSettings.parse(data, where=f"{path.name}:")


def _check(project: Project, name: str, stage: StageSettings) -> None:
    """What one section cannot know of another."""
    workflow = project.workflow
    file = f"{name}.json"
    for source in stage.data.sources:
        if source.name not in workflow.domains:
            known = ", ".join(workflow.domains)
            raise SettingsError(f"{file}: data.sources: {source.name!r} is no domain of the workflow; known: {known}")
    project.weights(name)
    if stage.model.vocab_size < workflow.tokenizer.vocab_size:
        raise SettingsError(
            f"{file}: model.vocab_size is {stage.model.vocab_size}, but the tokenizer has up to "
            f"{workflow.tokenizer.vocab_size} tokens (tokenizer.vocab_size); write at least that many"
        )
    if workflow.validation.fraction == 0:
        raise SettingsError(
            "validation.fraction: 0: without validation documents no stage can be evaluated; write for instance 0.01"
        )
