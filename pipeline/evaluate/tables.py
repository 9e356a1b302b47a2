"""The tables of an evaluation: figures by domain and for the mixture, and the load of the experts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.evaluate.load import shares
from pipeline.evaluate.measures import MIXTURE, mix, mix_bits_per_byte
from pipeline.evaluate.validate import Validated

DIGITS = 6
"""Figures are written with so many digits: beyond them they depend on the batch size and the machine."""


def figure_tables(
    found: Mapping[str, Validated], baselines: Mapping[str, Mapping[str, float]], weights: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """All figures of every domain, and of the mixture under its own name."""
    measures = {name: one.measures for name, one in found.items()}
    tables: dict[str, dict[str, Any]] = {}
    for name, one in found.items():
        size = {
            "rows": one.rows,
            "targets": one.targets,
            "text_bytes": one.text_bytes,
            "weight": weights.get(name, 0.0),
        }
        tables[name] = {**size, **one.measures.plain(), **baselines[name]}
    mixed = {
        key: mix_bits_per_byte({name: one[key] for name, one in baselines.items()}, measures, weights)
        for key in next(iter(baselines.values()))
    }
    size = {key: sum(one[key] for one in tables.values()) for key in ("rows", "targets", "text_bytes", "weight")}
    return {**tables, MIXTURE: {**size, **mix(measures, weights).plain(), **mixed}}


def with_mixture(experts: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The load [layers, experts] of each domain, and of the mixture: domains weigh as in training, not by rows."""
    parts = [weights.get(name, 0.0) * shares(counts) for name, counts in experts.items()]
    return {**experts, MIXTURE: np.sum(parts, axis=0)}


def domain_table(tables: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """A flat row for each domain and the mixture; lists become one column a depth."""
    rows = []
    for name, table in tables.items():
        row: dict[str, Any] = {"domain": name}
        for key, value in table.items():
            depths = (
                {f"{key}_{depth}": one for depth, one in enumerate(value)} if isinstance(value, list) else {key: value}
            )
            row.update(depths)
        rows.append(row)
    return pa.Table.from_pylist(rounded(rows))


def expert_table(layers: list[str], experts: Mapping[str, np.ndarray]) -> pa.Table:
    """One row for each domain (and the mixture), layer and expert, with its share of the layer's choices."""
    rows = [
        (name, layer, expert, float(share))
        for name, counts in experts.items()
        for layer, load in zip(layers, shares(counts), strict=True)
        for expert, share in enumerate(load)
    ]
    schema = pa.schema(
        [("domain", pa.string()), ("layer", pa.string()), ("expert", pa.int32()), ("share", pa.float64())]
    )
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def rounded(value: Any) -> Any:
    """The same data with every float cut to its significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value
