"""How evenly the router spreads tokens over the experts: of each layer at the end, and over the run."""

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from pipeline.report.curves import curve
from pipeline.report.figures.style import COLOURS, GREY, count_tokens, house_style

MOST_NUMBERS = 16
"""Up to so many experts each cell holds its number."""


@house_style
def draw_expert_load(layers: list[str], shares: np.ndarray, metrics: pa.Table, stage: str) -> Figure:
    """A heat map of `shares` [layers, experts] as multiples of the even one, and the busiest expert over the run."""
    if not layers:
        figure = Figure(figsize=(8, 1), layout="constrained")
        figure.text(0.5, 0.5, f"{stage} has no expert layers", ha="center")
        return figure
    figure = Figure(figsize=(8, 3.4 + 0.4 * len(layers)), layout="constrained")
    load, run = figure.subplots(2, 1, gridspec_kw={"height_ratios": [0.5 + 0.4 * len(layers), 2.2]})
    _draw_map(load, layers, shares * shares.shape[1])
    load.set_title(f"{stage}: expert load on validation text, multiples of an even share")
    _draw_run(run, metrics)
    return figure


def load_matrix(table: pa.Table, domain: str) -> tuple[list[str], np.ndarray]:
    """A domain's rows of expert_load.parquet as the layers' names and shares [layers, experts]."""
    rows = [row for row in table.to_pylist() if row["domain"] == domain]
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    part = np.zeros((len(layers), 1 + max((row["expert"] for row in rows), default=-1)))
    for row in rows:
        part[layers.index(row["layer"]), row["expert"]] = row["share"]
    return [layer_label(layer) for layer in layers], part


def layer_label(name: str) -> str:
    """What people call a layer: `layers.3.mlp` is layer 3, `mtp.0.block.mlp` is MTP 1."""
    kind, number = name.split(".")[:2]
    return f"MTP {int(number) + 1}" if kind == "mtp" else f"layer {number}"


def _draw_map(axes: Axes, layers: list[str], load: np.ndarray) -> None:
    norm = TwoSlopeNorm(1.0, 0.0, max(2.0, float(load.max(initial=0.0))))
    image = axes.imshow(load, cmap="PuOr_r", norm=norm, aspect="auto")
    axes.grid(visible=False)
    axes.set_yticks(range(len(layers)), layers)
    axes.set_xlabel("expert")
    if load.shape[1] <= MOST_NUMBERS:
        axes.set_xticks(range(load.shape[1]))
        for (layer, expert), value in np.ndenumerate(load):
            far = abs(norm(value) - 0.5) > 0.3
            axes.text(
                expert, layer, f"{value:.2f}", ha="center", va="center", color="white" if far else "black", fontsize=9
            )
    axes.figure.colorbar(image, ax=axes, label="1 = even", pad=0.01)


def _draw_run(axes: Axes, metrics: pa.Table) -> None:
    busiest = curve(metrics, "max_expert_load")
    axes.plot(busiest.tokens, busiest.value, color=COLOURS[0], linewidth=1)
    axes.axhline(1.0, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(
        "even",
        (1, 1.0),
        (-2, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        color=GREY,
    )
    axes.set_ylabel("busiest expert of any layer\n(multiple of an even share)")
    axes.set_ylim(bottom=0.9)
    axes.set_title("during training, step by step")
    count_tokens(axes)
