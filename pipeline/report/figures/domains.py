"""Bits per byte by domain: over the run, and at its end beside what frequencies and gzip reach."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from matplotlib.figure import Figure

from pipeline.evaluate.measures import MIXTURE
from pipeline.report.curves import curve, of_domain
from pipeline.report.figures.style import COLOURS, GREY, colour_of, count_tokens, house_style, label_rows


@house_style
def draw_validation(validation: pa.Table, stage: str) -> Figure:
    """One line a domain over the tokens, in the order of their ends, and the mixture in bold."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    domains = sorted(set(validation["domain"].to_pylist()) - {MIXTURE})
    lines = {name: curve(of_domain(validation, name), "bits_per_byte") for name in [*domains, MIXTURE]}
    styles: dict[str, dict[str, Any]] = {
        name: {**colour_of(number), "linewidth": 1.3} for number, name in enumerate(domains)
    }
    styles[MIXTURE] = {"color": GREY, "linestyle": "-", "linewidth": 3, "alpha": 0.7}
    for name in sorted(lines, key=lambda name: -lines[name].value[-1]):
        run = lines[name]
        axes.plot(run.tokens, run.value, label=f"{name}  {run.value[-1]:.2f}", marker=".", **styles[name])
    axes.set_ylabel("bits per byte, validation")
    axes.set_title(f"{stage}: validation by domain")
    count_tokens(axes)
    axes.legend(title="at the last validation", alignment="left", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@house_style
def draw_baselines(domains: Mapping[str, Mapping[str, Any]], mixture: Mapping[str, Any], stage: str) -> Figure:
    """One row a domain: the model, gzip and the unigram, each with its own colour and shape."""
    names = sorted(domains, key=lambda name: domains[name]["bits_per_byte"])
    rows = [*(domains[name] for name in names), mixture]
    figure = Figure(figsize=(8, 1.6 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        found = [row[key] for key in ("bits_per_byte", "gzip_bits_per_byte", "unigram_bits_per_byte")]
        axes.plot([min(found), max(found)], [place, place], color="#D0D0D0", linewidth=2, zorder=1)
        axes.annotate(f"{found[0]:.2f}", (found[0], place), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    for key, label, marker, colour in (
        ("bits_per_byte", "model", "o", COLOURS[0]),
        ("gzip_bits_per_byte", "gzip -9", "s", COLOURS[4]),
        ("unigram_bits_per_byte", "unigram of the training tokens", "D", COLOURS[1]),
    ):
        axes.plot(
            [row[key] for row in rows],
            range(len(rows)),
            marker,
            color=colour,
            label=label,
            markersize=7,
            zorder=3 if key == "bits_per_byte" else 2,
        )
    label_rows(axes, [*names, "mixture"])
    axes.set_ylim(len(rows) - 0.4, -0.8)
    axes.set_xlim(left=0)
    axes.set_xlabel("bits per byte of validation text (less is better)")
    axes.set_title(f"{stage}: against what needs no training", pad=26)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderpad=0.1)
    return figure
