"""The scaling law and its prediction: over the finished stages, or where there are too few, along the last run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from pipeline.report.figures.style import COLOURS, house_style
from pipeline.report.scaling import PowerLaw

UNITS = {"compute": "training compute (FLOPs)", "tokens": "training tokens of the run"}


@house_style
def draw_ladder(result: Mapping[str, Any], points: pa.Table, stage: str) -> Figure:
    """The points, the fitted law as far as the prediction, and its interval; or why there is none.

    With too few stages for a law over compute: the learning curve of `stage`.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    basis = "compute" if "law" in result["compute"] else "tokens"
    found = result["compute"] if basis == "compute" else result["runs"][stage]
    chosen = points.filter(pc.equal(points["basis"], basis))
    chosen = chosen if basis == "compute" else chosen.filter(pc.equal(chosen["stage"], stage))
    x, loss = chosen["x"].to_numpy(), chosen["bits_per_byte"].to_numpy()
    axes.plot(
        x, loss, "o", color=COLOURS[0], label="finished stages" if basis == "compute" else f"validations of {stage}"
    )
    if basis == "compute":
        for name, place, value in zip(chosen["stage"].to_pylist(), x, loss, strict=True):
            axes.annotate(name, (place, value), (6, 4), textcoords="offset points")
    if "law" in found:
        _draw_law(axes, found, x)
    axes.set_xscale("log")
    if basis == "tokens":
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(UNITS[basis])
    axes.set_ylabel("bits per byte, validation")
    axes.set_title(
        "Scaling over the finished stages" if basis == "compute" else f"{stage}: learning curve (not a scaling law)"
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(title=found.get("missing"), title_fontsize="small", loc="upper right")
    return figure


def _draw_law(axes: Axes, found: Mapping[str, Any], x: np.ndarray) -> None:
    law, prediction = PowerLaw(**found["law"]), found.get("prediction")
    along = np.geomspace(x.min(), max(x.max(), prediction["x"] if prediction else 0), 200)
    label = f"{law.floor:.3f} + {law.scale:.3f} (x / {law.unit:.3g})$^{{-{law.exponent:.3f}}}$"
    axes.plot(along, law.at(along), "-", color=COLOURS[0], linewidth=1.2, alpha=0.8, label=label)
    if prediction:
        below, above = prediction["loss"] - prediction["low"], prediction["high"] - prediction["loss"]
        says = f"{found['of']}: {prediction['loss']:.3f} ({prediction['low']:.3f} to {prediction['high']:.3f})"
        axes.errorbar(
            prediction["x"], prediction["loss"], [[below], [above]], fmt="D", color=COLOURS[1], capsize=4, label=says
        )
