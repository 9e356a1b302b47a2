"""The step `report`: a stage's figures and numbers, for people and for `snakemake --report`."""

import json
from typing import Any

import pyarrow.parquet as pq

from pipeline.artifact.build import Build
from pipeline.evaluate.lineage import require_one_lineage
from pipeline.evaluate.measures import MIXTURE
from pipeline.report.curves import read_metrics, read_validation
from pipeline.report.figures.domains import draw_baselines, draw_validation
from pipeline.report.figures.experts import draw_expert_load, load_matrix
from pipeline.report.figures.ladder import draw_ladder
from pipeline.report.figures.loss import draw_loss
from pipeline.report.figures.mixture import draw_mixture
from pipeline.report.figures.style import save
from pipeline.report.stages import require_evaluation_of
from pipeline.report.summary import domain_rows, headline, to_csv, to_html
from pipeline.settings.report import ReportStep

ROLES = ("tokenizer", "mixture", "train", "evaluate", "export", "ladder")


def report(settings: ReportStep, build: Build) -> dict[str, Any]:
    """Draw the figures of a stage and write its numbers. Reads one artifact of each of `ROLES`.

    Writes loss, validation, domains, experts, mixture and ladder as .svg, summary.html and headline.csv. Equal inputs
    give equal pictures. summary.html and headline.csv also say how long the run took, on what, and when everything was
    made: they differ between equal runs, and so does the report's content. Raises ArtifactError if the inputs are not
    of one lineage.
    """
    made_of = {role: build.one(role) for role in ROLES}
    require_one_lineage(made_of.values())
    train, evaluate, ladder = (made_of[role] for role in ("train", "evaluate", "ladder"))
    require_evaluation_of(train, evaluate)
    evaluation = json.loads(evaluate.path("evaluation.json").read_text(encoding="utf-8"))
    law = json.loads(ladder.path("ladder.json").read_text(encoding="utf-8"))
    mixture = pq.read_table(made_of["mixture"].path("mixture.parquet")).to_pylist()
    metrics, validation = read_metrics(train), read_validation(train)
    layers, load = load_matrix(pq.read_table(evaluate.path("expert_load.parquet")), MIXTURE)
    pictures = {
        "loss": draw_loss(metrics, validation, settings.stage),
        "validation": draw_validation(validation, settings.stage),
        "domains": draw_baselines(evaluation["domains"], evaluation["mixture"], settings.stage),
        "experts": draw_expert_load(layers, load, metrics, settings.stage),
        "mixture": draw_mixture(mixture, settings.stage),
        "ladder": draw_ladder(law, pq.read_table(ladder.path("points.parquet")), settings.stage),
    }
    for name, picture in pictures.items():
        save(picture, build.folder / f"{name}.svg")
    figures = headline({role: one.manifest.counts for role, one in made_of.items()})
    page = to_html(settings.stage, figures, domain_rows(mixture, evaluation), list(made_of.values()))
    (build.folder / "summary.html").write_text(page, encoding="utf-8")
    (build.folder / "headline.csv").write_text(to_csv(figures), encoding="utf-8")
    return {"figures": len(pictures), "gate": evaluation["gate"]}
