"""An overview of a workflow for people: a line for the artifacts of a kind, some for each run that is not over."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.manage.run import Run
from pipeline.manage.status import Overview, State, Status
from pipeline.manage.words import seconds_in_words

STYLES: dict[State, str] = {
    "running": "bold cyan",
    "queued": "cyan",
    "unfinished": "yellow",
    "stale": "yellow",
    "waits": "",
    "not made": "",
    "done": "green",
}
"""Colours only repeat what the words say."""
MANY = ("download", "tokenize", "pack")
"""Steps that make an artifact a block."""


def show(console: Console, overview: Overview) -> None:
    """Print an overview once."""
    console.print(_headline(overview), soft_wrap=True)
    console.print(_artifacts(overview))
    for part in _runs(overview):
        console.print(part)


def watch(console: Console, look: Callable[[], Overview], seconds: float) -> None:
    """Show it again and again until interrupted: in place on a terminal, else one below the other with the time."""
    if not console.is_terminal:
        while True:
            console.print(Text(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"))
            show(console, look())
            time.sleep(seconds)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            overview = look()
            # What moves stands above, where a low terminal does not cut it off.
            live.update(Group(_headline(overview), *_runs(overview), Text(), _artifacts(overview)), refresh=True)
            time.sleep(seconds)


def _headline(overview: Overview) -> Text:
    done = sum(one.state == "done" for one in overview.artifacts)
    return Text(f"{overview.results}: {done} of {len(overview.artifacts)} artifacts are done")


def _artifacts(overview: Overview) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    groups: dict[str, list[Status]] = {}
    for one in overview.artifacts:
        groups.setdefault(_group(one), []).append(one)
    for name, members in groups.items():
        table.add_row(Text(name), *_line(members))
    for job in overview.other_jobs:
        table.add_row(Text("(other job)"), Text(job.state.lower()), Text(f"{job.id} {job.comment} {job.reason}"))
    return table


def _group(one: Status) -> str:
    if one.step not in MANY:
        return one.name
    parts = one.name.split("/")
    return f"{'/'.join(parts[:2]) if one.step == 'pack' else parts[0]}/*"


def _line(members: Sequence[Status]) -> tuple[Text, Text]:
    """The state and what there is to say of the artifacts of a kind."""
    first = min(members, key=lambda one: list(STYLES).index(one.state))
    if len(members) == 1:
        return Text(first.state, STYLES[first.state]), Text(_about(first))
    counts = Counter(one.state for one in members)
    if len(counts) == 1:
        what = f"all {len(members)}" if not first.about else f"all {len(members)}; {_named(first)}"
    else:
        what = ", ".join(f"{counts[state]} {state}" for state in STYLES if counts[state]) + f"; {_named(first)}"
    return Text(first.state, STYLES[first.state]), Text(what)


def _named(one: Status) -> str:
    about = _about(one)
    return f"{one.name.partition('/')[2]}: {about}" if about else one.name.partition("/")[2]


def _about(one: Status) -> str:
    jobs = [str(job) for job in one.jobs if str(job) not in one.about]
    return "; ".join(filter(None, [one.about, *jobs]))


def _runs(overview: Overview) -> Iterator[RenderableType]:
    for one in overview.artifacts:
        for run in one.runs:
            yield Text(f"\n{one.name}" + ("" if run.is_current else f" (in {run.folder})"), "bold")
            yield Text("\n".join(f"  {line}" for line in _lines(run)))


def _lines(run: Run) -> Iterator[str]:
    yield _progress(run)
    if run.loss is not None or run.smoothed_loss is not None:
        yield f"loss {_figure(run.loss)}, mean of the last {run.smoothed_over} steps {_figure(run.smoothed_loss)}"
    if run.tokens_per_second is not None:
        yield f"{run.tokens_per_second:,.0f} tokens/s" + (f", MFU {run.mfu:.0%}" if run.mfu is not None else "")
    if run.checkpoint is not None:
        yield f"checkpoint of step {run.checkpoint.step:,}, {seconds_in_words(run.checkpoint.age_seconds)} old"
    if run.validation is not None:
        yield f"validation {run.validation.bits_per_byte:.3f} bits per byte at step {run.validation.step:,}"
    yield from _attempts(run)


def _progress(run: Run) -> str:
    if run.steps is None:
        return f"step {run.step:,}"
    share = f"step {run.step:,} of {run.steps:,} ({run.step / run.steps:.0%})"
    return share if run.seconds_left is None else f"{share}, {seconds_in_words(run.seconds_left)} of training left"


def _attempts(run: Run) -> Iterator[str]:
    if run.attempts:
        yield f"attempts {run.attempts}" + (f"; the last that is over: {run.ended}" if run.ended else "")
    elif run.ended:
        yield run.ended
    if run.holder is None:
        yield "nobody trains it now"
    elif run.holder.alive:
        yield f"{run.holder} trains it"
    else:
        yield f"{run.holder} held it and is gone, silent for {seconds_in_words(run.holder.silent_seconds)}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
