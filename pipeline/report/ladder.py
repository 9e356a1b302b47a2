"""The step `ladder`: what the finished stages say about a larger one.

Over stages, loss is a power law of compute; that takes three of them. Within a stage, loss over tokens is one only
roughly, since the learning rate falls meanwhile: such a curve says where that run was heading, not what a longer run
with its own schedule would reach. Every result says which of the two it is; where there are too few points it says so.
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifact.build import Build
from pipeline.evaluate.measures import MIXTURE
from pipeline.report.curves import Curve, curve, of_domain, read_metrics, read_validation, warmup_end
from pipeline.report.scaling import PARAMETERS, PowerLaw, fit, predict
from pipeline.report.stages import FinishedStage, finished_stages
from pipeline.settings.report import LadderStep

CURVE_POINTS = 6
"""Fewest validations after warm-up for a curve's fit: twice the parameters."""
GROWTH = 2.0
"""How far predictions reach, in multiples of the compute or the tokens: near enough for a law of so few points."""
SEED = 0
"""Of the resampling that gives the intervals. Another seed moves them by a few percent of their width."""


def ladder(settings: LadderStep, build: Build) -> dict[str, Any]:
    """Fit and predict from the finished stages (roles `train` and `evaluate`).

    Writes ladder.json and points.parquet; the counts hold the headline prediction, or why there is none.
    Raises ArtifactError if an evaluation is not of the checkpoint that it stands beside.
    """
    stages = finished_stages(build.inputs["train"], build.inputs["evaluate"])
    runs = {stage.name: _run_curve(stage) for stage in stages}
    result = {
        "stages": [stage.plain() for stage in stages],
        "compute": compute_law(stages),
        "runs": {name: token_law(run) for name, run in runs.items()},
    }
    result["headline"] = headline(result, stages[-1].name)
    (build.folder / "ladder.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    pq.write_table(_points(stages, runs), build.folder / "points.parquet")
    return {"stages": len(stages), "headline": result["headline"]}


def compute_law(stages: list[FinishedStage]) -> dict[str, Any]:
    """The law of bits per byte over training FLOPs, and its prediction for `GROWTH` times the last stage's."""
    x = np.array([stage.flops for stage in stages])
    loss = np.array([stage.bits_per_byte for stage in stages])
    if len(np.unique(x)) < PARAMETERS:
        return _missing(
            f"a law over compute takes {PARAMETERS} finished stages of different size, there are {len(np.unique(x))}"
        )
    noise = float(np.mean([stage.bits_per_byte_error / stage.bits_per_byte for stage in stages]))
    found = _fitted(x, loss, noise)
    found["of"] = f"{GROWTH:g} times the compute of {stages[-1].name}"
    return found


def token_law(run: Curve) -> dict[str, Any]:
    """The law of a run's validation bits per byte over its tokens, and its prediction for `GROWTH` times the tokens."""
    if len(run.tokens) < CURVE_POINTS:
        return _missing(f"a learning curve takes {CURVE_POINTS} validations after warm-up, there are {len(run.tokens)}")
    found = _fitted(run.tokens.astype(np.float64), run.value, noise=0.0)
    found["of"] = f"{GROWTH:g} times the tokens of this run"
    found["notes"] += [
        "one run under one learning-rate schedule: where it was heading, not what a longer run would reach",
        "on the rows that training validates on, which may be fewer than the evaluation's",
    ]
    return found


def headline(result: dict[str, Any], last: str) -> dict[str, Any]:
    """The best-founded prediction: over stages if there are enough, else of the last stage's curve, else why none."""
    for basis, found in (("compute", result["compute"]), ("tokens", result["runs"][last])):
        if found.get("prediction"):
            return {"basis": basis, "of": found["of"], **found["prediction"]}
    return {
        "basis": None,
        "reason": f"{result['compute'].get('missing', '')}; {result['runs'][last].get('missing', '')}",
    }


def _fitted(x: np.ndarray, loss: np.ndarray, noise: float) -> dict[str, Any]:
    """The law over ascending x, and what it says of `GROWTH` times the last one."""
    law = fit(x, loss)
    found: dict[str, Any] = {"points": len(x), "law": _plain(law), "notes": _notes(law, x)}
    if max(law.spread, noise) > 0:
        prediction = predict(law, x, GROWTH * float(x[-1]), noise, SEED)
        found["prediction"] = {name: float(f"{value:.6g}") for name, value in vars(prediction).items()}
    else:
        found["missing"] = "the points fit exactly and no error of theirs is known, so there is no interval to give"
    return found


def _notes(law: PowerLaw, x: np.ndarray) -> list[str]:
    notes = []
    if len(x) == PARAMETERS:
        notes.append("as many points as parameters: the interval rests on the error of the evaluations alone")
    if law.scale == 0:
        notes.append("the loss does not fall over these points; the law is a constant")
    if law.floor == 0:
        notes.append("the points show no floor; the law is a pure power and too hopeful far away")
    return notes


def _missing(reason: str) -> dict[str, Any]:
    return {"missing": reason, "notes": []}


def _plain(law: PowerLaw) -> dict[str, float]:
    return {name: float(f"{value:.8g}") for name, value in vars(law).items()}


def _run_curve(stage: FinishedStage) -> Curve:
    rows = of_domain(read_validation(stage.train), MIXTURE)
    return curve(rows, "bits_per_byte").after(warmup_end(read_metrics(stage.train)))


def _points(stages: list[FinishedStage], runs: dict[str, Curve]) -> pa.Table:
    """Every fitted point: the stages over compute, and the runs over tokens."""
    rows = [("compute", stage.name, stage.flops, stage.bits_per_byte) for stage in stages]
    for name, run in runs.items():
        rows += [("tokens", name, float(t), float(v)) for t, v in zip(run.tokens, run.value, strict=True)]
    columns = zip(*rows, strict=True)
    return pa.table(dict(zip(("basis", "stage", "x", "bits_per_byte"), map(list, columns), strict=True)))
