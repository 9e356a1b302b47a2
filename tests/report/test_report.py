"""The report of a stage that was really trained."""

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.build import Build
from pipeline.artifact.files import ArtifactError
from pipeline.report.report import report
from pipeline.report.summary import Number, to_html
from pipeline.settings.base import SettingsError
from pipeline.settings.report import ReportStep

FIGURES = ("loss", "validation", "domains", "experts", "mixture", "ladder")
CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"


@pytest.fixture(scope="module")
def made(small_project: Any) -> Artifact:
    """The small stage's report."""
    return small_project.make("report/small")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_picture_with_a_caption(made: Artifact, name: str) -> None:
    root = ElementTree.parse(made.path(f"{name}.svg")).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 20
    assert "{{ snakemake.wildcards.stage }}" in (CAPTIONS / f"{name}.rst").read_text()


def test_the_same_inputs_give_the_same_pictures(small_project: Any, made: Artifact, tmp_path: Path) -> None:
    report(ReportStep(stage="small"), Build(tmp_path, small_project.inputs("report/small")))
    for name in FIGURES:
        assert (tmp_path / f"{name}.svg").read_bytes() == made.path(f"{name}.svg").read_bytes(), name


def test_the_pictures_depend_on_no_time(small_project: Any, made: Artifact, tmp_path: Path) -> None:
    inputs = small_project.inputs("report/small")
    (train,) = inputs["train"]
    slower = train.manifest.model_copy(
        update={
            "cost": {**train.manifest.cost, "started": "2031-01-01T00:00:00"},
            "counts": {**train.manifest.counts, "seconds": 98765.0, "tokens_per_second": 1.0},
        }
    )
    report(ReportStep(stage="small"), Build(tmp_path, {**inputs, "train": (replace(train, manifest=slower),)}))
    for name in FIGURES:
        assert (tmp_path / f"{name}.svg").read_bytes() == made.path(f"{name}.svg").read_bytes(), name
    assert "98,765 s on cpu" in (tmp_path / "headline.csv").read_text()
    assert "2031-01-01" in (tmp_path / "summary.html").read_text()


def test_the_numbers_are_those_of_the_artifacts(small_project: Any, made: Artifact) -> None:
    with made.path("headline.csv").open(newline="") as file:
        rows = {(row["part"], row["name"]): row["value"] for row in csv.DictReader(file)}
    mixture = small_project.make("evaluate/small").manifest.counts["mixture"]
    assert rows["evaluation", "bits per byte"].startswith(f"{mixture['bits_per_byte']:.4f} ")
    assert rows["evaluation", "bits per byte of the unigram"] == f"{mixture['unigram_bits_per_byte']:.4f}"
    assert rows["training", "tokens"] == "20,480"
    assert rows["tokenizer", "vocabulary"] == "512"


def test_the_page_names_every_domain_and_every_origin(small_project: Any, made: Artifact) -> None:
    page = made.path("summary.html").read_text()
    for domain in ("python_code", "docstrings", "language_reference"):
        assert f"<td>{domain}</td>" in page
    for artifacts in small_project.inputs("report/small").values():
        assert all(one.manifest.content[:12] in page for one in artifacts)
    assert not re.search(r"https?://|src=", page), "the page stands alone"


def test_names_from_outside_are_escaped() -> None:
    page = to_html("<b>&", [Number("a<i>", "<script>", "1 < 2")], [{"domain": "<script>"}], [])
    assert "<script>" not in page
    assert "<i>" not in page
    assert "1 &lt; 2" in page


def test_an_evaluation_of_another_checkpoint_is_refused(small_project: Any, tmp_path: Path) -> None:
    inputs = small_project.inputs("report/small")
    (evaluation,) = inputs["evaluate"]
    sources = [
        s.model_copy(update={"content": "0" * 64}) if s.role == "train" else s for s in evaluation.manifest.inputs
    ]
    other = replace(evaluation, manifest=evaluation.manifest.model_copy(update={"inputs": tuple(sources)}))
    with pytest.raises(ArtifactError, match="evaluate/small was made of another train/small"):
        report(ReportStep(stage="small"), Build(tmp_path, {**inputs, "evaluate": (other,)}))


def test_a_stage_is_named_without_its_folder() -> None:
    with pytest.raises(SettingsError, match="give its name alone, for instance 'small'"):
        ReportStep.parse({"stage": "train/small"})
