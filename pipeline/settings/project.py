"""The workflow's settings and those of all its stages, read and checked together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.settings.base import SettingsError
from pipeline.settings.corpus import normalize_weights
from pipeline.settings.export import check_exportable
from pipeline.settings.plain import merge, read_json, read_yaml
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
    return load_project(merge(read_yaml(path), overrides or {}), roots)


def load_project(config: Mapping[str, Any], roots: Sequence[Path] = ()) -> Project:
    """Check a configuration and read its stages' files, looked for below each of `roots` (default: here).

    Raises SettingsError that names the key, the value and the way out.
    """
    workflow = WorkflowSettings.parse(config)
    _check_workflow(workflow)
    folders = [root / workflow.stages_folder for root in (roots or [Path()])]
    project = Project(workflow, {name: _read_stage(name, folders) for name in workflow.stages})
    for name, stage in project.stages.items():
        _check(project, name, stage)
    return project


def _read_stage(name: str, folders: Sequence[Path]) -> StageSettings:
    path = next((folder / f"{name}.json" for folder in folders if (folder / f"{name}.json").is_file()), None)
    if path is None:
        raise SettingsError(
            f"stages: {name!r} has no file {folders[0] / f'{name}.json'}; write it, or correct the name"
        )
    return StageSettings.parse(read_json(path), where=f"{path.name}:")


def _check_workflow(workflow: WorkflowSettings) -> None:
    normalize_weights(workflow.domains)
    if workflow.validation.fraction == 0:
        raise SettingsError(
            "validation.fraction is 0: without validation documents no stage can be evaluated; write for instance 0.01"
        )


def _check(project: Project, name: str, stage: StageSettings) -> None:
    """What one section cannot know of another."""
    workflow = project.workflow
    for number, source in enumerate(stage.data.sources):
        if source.name not in workflow.domains:
            raise SettingsError(
                f"{name}.json: data.sources[{number}].name is {source.name!r}, which is no domain of the workflow; "
                f"known: {', '.join(workflow.domains)}"
            )
    if stage.model.vocab_size < workflow.tokenizer.vocab_size:
        raise SettingsError(
            f"{name}.json: model.vocab_size is {stage.model.vocab_size}, but the tokenizer has up to "
            f"{workflow.tokenizer.vocab_size} tokens (tokenizer.vocab_size); write at least that many"
        )
    try:
        check_exportable(stage.model)
    except SettingsError as error:
        raise SettingsError(f"{name}.json: {error}") from None
