"""Training and validation loss against tokens, with what drove them: learning rate and gradient norm."""

import re

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pipeline.evaluate.measures import MIXTURE
from pipeline.report.curves import Curve, curve, of_domain
from pipeline.report.figures.style import COLOURS, GREY, count_tokens, house_style

SMOOTHING = 0.02
"""The running mean covers this share of the steps: enough to see the trend, too little to hide a spike."""


@house_style
def draw_loss(metrics: pa.Table, validation: pa.Table, stage: str) -> Figure:
    """Three panels over the tokens: losses, learning rate, gradient norm."""
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    loss, rate, norm = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1, 1]})
    window = max(1, round(SMOOTHING * metrics.num_rows))
    _draw_losses(loss, metrics, validation, window)
    loss.set_title(f"{stage}: loss")
    _draw_line(rate, curve(metrics, "lr"), "learning\nrate")
    _draw_line(norm, curve(metrics, "grad_norm"), "gradient\nnorm")
    norm.set_yscale("log")
    norm.yaxis.set_major_formatter("{x:g}")
    norm.yaxis.set_minor_formatter(NullFormatter())
    count_tokens(norm)
    figure.align_ylabels()
    return figure


def running_mean(run: Curve, window: int) -> Curve:
    """Means over the last `window` steps, from the first whole window on."""
    sums = np.cumsum(np.concatenate([[0.0], run.value]))
    return Curve(run.step[window - 1 :], run.tokens[window - 1 :], (sums[window:] - sums[:-window]) / window)


def _draw_losses(axes: Axes, metrics: pa.Table, validation: pa.Table, window: int) -> None:
    main = curve(metrics, "next_token")
    axes.plot(main.tokens, main.value, color=COLOURS[0], alpha=0.25, linewidth=0.7)
    for number, name in enumerate(
        ["next_token", *sorted(c for c in metrics.column_names if re.fullmatch(r"mtp_\d+", c))]
    ):
        smooth = running_mean(curve(metrics, name), window)
        ahead = "next token" if number == 0 else f"{number + 1} tokens ahead (MTP {number})"
        axes.plot(smooth.tokens, smooth.value, color=COLOURS[(0, 2, 3, 4)[number % 4]], label=f"training, {ahead}")
    held_out = curve(of_domain(validation, MIXTURE), "nats_per_token")
    axes.plot(held_out.tokens, held_out.value, "o-", color=COLOURS[1], markersize=4, label="validation, next token")
    axes.set_ylabel("cross-entropy (nats per token)")
    note = f"training: mean of {window} steps, single steps faint" if window > 1 else "training: single steps"
    axes.legend(title=note, title_fontsize="small", loc="upper right", alignment="left")


def _draw_line(axes: Axes, run: Curve, label: str) -> None:
    axes.plot(run.tokens, run.value, color=GREY, linewidth=1)
    axes.set_ylabel(label)
