"""A stage in numbers: one page that stands alone, and the same numbers as a table."""

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from pipeline.artifact.artifact import Artifact

STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.6em 0 1.6em}td,th{padding:.25em .9em;border-bottom:1px solid #ddd}"
    "td,th{text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}th{font-weight:600}"
)
DOMAIN_COLUMNS = {
    "domain": "domain",
    "weight_asked": "share asked",
    "weight_delivered": "share delivered",
    "epochs": "epochs",
    "targets": "tokens scored",
    "bits_per_byte": "bits per byte",
    "gzip_bits_per_byte": "gzip -9",
    "unigram_bits_per_byte": "unigram",
    "perplexity": "perplexity per token",
    "accuracy": "next-token accuracy",
}


class Number(NamedTuple):
    """One number of a stage."""

    part: str
    name: str
    value: str


def headline(counts: Mapping[str, Mapping[str, Any]]) -> list[Number]:
    """A stage's numbers from the counts of its artifacts, by step."""
    return [
        *_training(counts["train"]),
        *_evaluation(counts["evaluate"]),
        *_prediction(counts["ladder"]["headline"]),
        *_export(counts["export"]),
        Number("tokenizer", "vocabulary", _show(counts["tokenizer"]["vocabulary"])),
    ]


def _training(train: Mapping[str, Any]) -> list[Number]:
    flops = train["flops_per_token"] * train["tokens"]
    named = {
        "parameters": _show(train["parameters"]),
        "parameters active for a token": _show(train["active_parameters"]),
        "parameters of MTP modules, besides": _show(train["mtp_parameters"]),
        "tokens": _show(train["tokens"]),
        "steps": _show(train["steps"]),
        "steps skipped (not finite)": _show(train["skipped_steps"]),
        "compute": f"{flops:.3g} FLOPs",
        "time": f"{train['seconds']:,.0f} s on {train['device']}",
        "speed": f"{train['tokens_per_second']:,.0f} tokens/s, MFU {train['mfu']:.1%}",
    }
    return [Number("training", name, value) for name, value in named.items()]


def _evaluation(evaluation: Mapping[str, Any]) -> list[Number]:
    mixture, gate = evaluation["mixture"], evaluation["gate"]
    named = {
        "bits per byte": f"{mixture['bits_per_byte']:.4f} (standard error {mixture['bits_per_byte_error']:.4f})",
        "bits per byte of gzip -9": f"{mixture['gzip_bits_per_byte']:.4f}",
        "bits per byte of the unigram": f"{mixture['unigram_bits_per_byte']:.4f}",
        "loss": f"{mixture['nats_per_token']:.4f} nats per token",
        "perplexity": f"{mixture['perplexity']:,.2f} per token",
        "next-token accuracy": f"{mixture['accuracy']:.2%}",
    }
    for depth, share in enumerate(mixture["mtp_accuracy"]):
        named[f"accuracy {depth + 2} tokens ahead (MTP {depth + 1})"] = f"{share:.2%}"
        named[f"acceptance of MTP {depth + 1}"] = f"{mixture['mtp_acceptance'][depth]:.2%}"
    named["busiest expert above the mean load"] = f"{evaluation['expert_violation']:.1%}"
    named["gate"] = "passed" if gate["passed"] else f"not passed: {'; '.join(gate['reasons'])}"
    return [Number("evaluation", name, value) for name, value in named.items()]


def _prediction(found: Mapping[str, Any]) -> list[Number]:
    if found["basis"] is None:
        return [Number("ladder", "prediction", f"none: {found['reason']}")]
    basis = "over stages" if found["basis"] == "compute" else "from the run's own learning curve"
    interval = f"{found['loss']:.4f} bits per byte ({found['low']:.4f} to {found['high']:.4f}, {found['coverage']:.0%})"
    return [Number("ladder", f"prediction for {found['of']}, {basis}", interval)]


def _export(export: Mapping[str, Any]) -> list[Number]:
    named = {
        "architecture for transformers": export["model_type"],
        "weights": f"{export['weight_bytes']:,} bytes of {export['dtype']}",
        "largest difference of logits, transformers against ours": f"{export['parity']['largest_difference']:.1e}",
    }
    return [Number("export", name, value) for name, value in named.items()]


def domain_rows(mixture: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each domain was asked for, delivered and reached."""
    return [{**row, **evaluation["domains"].get(row["domain"], {})} for row in mixture]


def to_csv(numbers: Sequence[Number]) -> str:
    """The numbers as a table of three columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Number._fields)
    writer.writerows(numbers)
    return out.getvalue()


def to_html(
    stage: str, numbers: Sequence[Number], domains: Sequence[Mapping[str, Any]], made_of: Sequence[Artifact]
) -> str:
    """The page. Everything that comes from outside is escaped."""
    body = [f"<h1>{escape(stage)}</h1>"]
    for part in dict.fromkeys(number.part for number in numbers):
        body += [f"<h2>{escape(part)}</h2>", _table([(f.name, f.value) for f in numbers if f.part == part])]
    cells = [[_show(row.get(key, "")) for key in DOMAIN_COLUMNS] for row in domains]
    body += ["<h2>domains</h2>", _table(cells, list(DOMAIN_COLUMNS.values()))]
    sources = [(one.name, one.manifest.content[:12], one.manifest.cost.get("started", "")) for one in made_of]
    body += ["<h2>made of</h2>", _table(sources, ["artifact", "content", "made"])]
    title = f"<title>{escape(stage)}</title>"
    return f'<!doctype html><html lang="en"><meta charset="utf-8">{title}<style>{STYLE}</style>{"".join(body)}</html>\n'


def _table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    head = f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in header)}</tr>" if header else ""
    lines = ["<tr>" + "".join(_cell(place, value) for place, value in enumerate(row)) + "</tr>" for row in rows]
    return f"<table>{head}{''.join(lines)}</table>"


def _cell(place: int, value: str) -> str:
    return f'<td class="n">{escape(value)}</td>' if place and value[:1].isdigit() else f"<td>{escape(value)}</td>"


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
