"""The mixture of a stage: what was asked of each domain, and what it delivers."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.report.figures.style import COLOURS, house_style, label_rows


@house_style
def draw_mixture(rows: Sequence[Mapping[str, Any]], stage: str) -> Figure:
    """Two bars a domain, as shares of the stage's tokens; the numbers are tokens delivered and epochs."""
    rows = sorted(rows, key=lambda row: -row["weight_delivered"])
    figure = Figure(figsize=(8, 1.5 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    asked, delivered = ([row[f"weight_{kind}"] for row in rows] for kind in ("asked", "delivered"))
    axes.barh([place - 0.2 for place in places], asked, 0.36, color="#B8CFE0", label="asked")
    axes.barh([place + 0.2 for place in places], delivered, 0.36, color=COLOURS[0], label="delivered")
    for place, row in zip(places, rows, strict=True):
        end = max(row["weight_asked"], row["weight_delivered"])
        says = f"{_short(row['tokens_delivered'])} tokens, {row['epochs']:.2f} epochs"
        axes.annotate(says, (end, place), (6, 0), textcoords="offset points", va="center", fontsize=9)
    label_rows(axes, [row["domain"] for row in rows])
    axes.set_xlim(0, 1.35 * max(*asked, *delivered))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the stage's tokens")
    axes.set_title(f"{stage}: mixture asked and delivered")
    axes.legend(loc="lower right")
    return figure


def _short(count: float) -> str:
    """A number of tokens in three digits: 1.23 M."""
    for unit in ("", " k", " M", " G"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.4g} T"
