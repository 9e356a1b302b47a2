import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.artifact.code import ROOT
from pipeline.settings.base import SettingsError
from pipeline.settings.project import Project, load_project, read_project

DEMO: dict[str, Any] = json.loads((ROOT / "config/stages/demo.json").read_text())
WORKFLOW: dict[str, Any] = {
    "domains": {"readmes": {"weight": 3}, "licences": {"weight": 1}, "docstrings": {"weight": 0}},
    "stages": ["demo"],
    "stages_folder": "stages",
}


@pytest.fixture
def write(tmp_path: Path):
    """Write a stage with some sections changed."""

    def write(name: str = "demo", **sections: dict[str, Any]) -> Path:
        stage = {**DEMO, **{key: {**DEMO.get(key, {}), **section} for key, section in sections.items()}}
        path = tmp_path / "stages" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(stage))
        return path

    return write


def load(tmp_path: Path, **changes: Any) -> Project:
    return load_project({**WORKFLOW, **changes}, roots=[tmp_path])


def test_weights_become_shares_and_a_weight_of_zero_is_left_out(tmp_path: Path, write) -> None:
    write()
    assert load(tmp_path).weights("demo") == {"readmes": 0.75, "licences": 0.25}


def test_the_sources_of_a_stage_replace_the_workflows_weights(tmp_path: Path, write) -> None:
    write(data={"sources": [{"name": "docstrings", "weight": 2}, {"name": "readmes", "weight": 6}]})
    assert load(tmp_path).weights("demo") == {"docstrings": 0.25, "readmes": 0.75}


def test_the_first_root_that_has_a_stage_gives_it(tmp_path: Path, write) -> None:
    write(training={"lr": 0.5})
    (tmp_path / "empty").mkdir()
    project = load_project(WORKFLOW, roots=[tmp_path / "empty", tmp_path])
    assert project.stages["demo"].training.lr == 0.5


@pytest.mark.parametrize(
    ("changes", "sections", "sentence"),
    [
        ({"stages": ["tiny"]}, {}, r"^stages: 'tiny' has no file .*stages/tiny\.json; write it, or correct the name$"),
        (
            {},
            {"data": {"sources": [{"name": "readmes", "weight": 1}, {"name": "wiki", "weight": 1}]}},
            r"^demo\.json: data\.sources\[1\]\.name is 'wiki', which is no domain of the workflow; known: readmes, lic",
        ),
        (
            {"tokenizer": {"vocab_size": 9000}},
            {"model": {"vocab_size": 8192}},
            r"^demo\.json: model\.vocab_size is 8192, but the tokenizer has up to 9000 tokens .*at least that many$",
        ),
        (
            {},
            {"model": {"moe": {**DEMO["model"]["moe"], "score": "softmax"}}},
            r"^demo\.json: model\.moe\.score: 'softm",
        ),
        ({"validation": {"fraction": 0}}, {}, r"^validation\.fraction is 0: without validation documents .* 0\.01$"),
        (
            {"domains": {"readmes": {"weight": 0}}},
            {},
            r"^domains\.readmes\.weight: every weight is 0, .* positive weight$",
        ),
        ({"domains": {}}, {}, r"^domains: there is none; write at least one"),
        (
            {},
            {"model": {"hidden_sise": 1}},
            r"^demo\.json: model\.hidden_sise: unknown key; did you mean 'hidden_size'\?$",
        ),
    ],
)
def test_sections_that_do_not_fit_each_other_are_refused(tmp_path: Path, write, changes, sections, sentence) -> None:
    write(**sections)
    with pytest.raises(SettingsError, match=sentence):
        load(tmp_path, **changes)


def test_a_broken_stage_is_refused_with_its_line(tmp_path: Path, write) -> None:
    path = write()
    path.write_text('{\n  "model": {,\n')
    with pytest.raises(SettingsError, match=r"stages/demo\.json is not JSON: .*line 2 column 13.*; correct it there"):
        load(tmp_path)


def test_a_file_is_read_with_its_overrides(tmp_path: Path, write) -> None:
    write()
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(WORKFLOW))
    overrides = {"domains": {"licences": {"weight": 0}}, "results": "elsewhere"}
    project = read_project(tmp_path / "my.yaml", overrides, roots=[tmp_path])
    assert project.weights("demo") == {"readmes": 1.0}
    assert project.workflow.results == "elsewhere"


def test_the_demo_is_right() -> None:
    project = read_project(ROOT / "config/demo.yaml", roots=[ROOT])
    assert sum(project.weights("demo").values()) == pytest.approx(1)
