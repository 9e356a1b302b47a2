"""One look for all figures: colours that colour-blind readers can tell apart, the same bytes each time."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
"""Okabe and Ito's palette, its yellow darkened so that lines can be seen on white."""
DASHES = ("-", "--", ":", "-.")
GREY = "#767676"
SETTINGS: Any = {
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
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
}


house_style = matplotlib.rc_context(SETTINGS)
"""Decorates every function that draws: the settings hold while it runs, and no longer."""


@house_style
def save(figure: Figure, path: Path) -> None:
    """Write a figure; as SVG without date, so that equal figures are equal files."""
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
