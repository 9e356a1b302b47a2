"""One look for all figures: colours that colour-blind readers can tell apart, units on axes, the same bytes each time."""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
"""Okabe and Ito's palette, its yellow darkened so that lines can be seen on white."""
DASHES = ("-", "--", ":", "-.")
GREY = "#767676"
SETTINGS = {
    "svg.hashsalt": "seekmake",
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches wide and high. No global state, no display."""
    with matplotlib.rc_context(SETTINGS):
        return Figure(figsize=(width, height), layout="constrained")


def new_axes(figure: Figure, rows: int = 1, columns: int = 1, **layout: object) -> list[Axes]:
    """The figure's axes in the house style, row by row."""
    with matplotlib.rc_context(SETTINGS):
        return list(figure.subplots(rows, columns, squeeze=False, **layout).flat)


def save(figure: Figure, path: Path) -> None:
    """Write a figure; as SVG without date, so that equal figures are equal files."""
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def colour_of(number: int) -> dict[str, str]:
    """Colour and dashes of the n-th line: colours first, then the same with other dashes."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number // len(COLOURS) % len(DASHES)]}


def count_tokens(axes: Axes) -> None:
    """Label a horizontal axis of tokens: 500 k, 2 M, 1 G."""
    axes.set_xlabel("training tokens")
    axes.xaxis.set_major_formatter(EngFormatter())


def label_rows(axes: Axes, names: list[str]) -> None:
    """Name the rows of a horizontal chart, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
