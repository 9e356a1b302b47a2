"""What prune found and did, for people."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from pipeline.manage.leftovers import Found, Leftover
from pipeline.manage.prune import Fate
from pipeline.manage.words import bytes_in_words, seconds_in_words


def listing(found: Found, results: Path, command: str) -> Iterator[str | Table]:
    """What can go, how much it is, and the command that deletes it."""
    if found.leftovers:
        yield _table(found.leftovers, results)
        yield f"\n{bytes_in_words(found.bytes)} in {len(found.leftovers)} files and folders. To delete them:"
        yield f"  {command}"
    else:
        yield f"Nothing to delete in {results}."
    if any(one.is_expensive for one in found.leftovers):
        yield "Those marked * took over an hour of training: add --runs-too to delete them."
    yield from _notes(found)


def outcome(found: Found, fates: Sequence[Fate], results: Path) -> Iterator[str | Table]:
    """What was deleted and what was not."""
    gone = [fate.leftover for fate in fates if not fate.kept_for]
    yield f"Deleted {bytes_in_words(sum(one.size.bytes for one in gone))} in {len(gone)} files and folders."
    for fate in fates:
        if fate.kept_for:
            yield f"{fate.leftover.path.relative_to(results)} is not deleted: {fate.kept_for}"
    yield from _notes(found)


def _notes(found: Found) -> Iterator[str]:
    return (f"Note: {note}" for note in found.notes)


def _table(leftovers: Iterable[Leftover], results: Path) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("path and why", overflow="fold")
    for one in leftovers:
        age = seconds_in_words(time.time() - one.size.modified)
        mark = " *" if one.is_expensive else ""
        table.add_row(
            Text(bytes_in_words(one.size.bytes)),
            Text(age),
            Text(f"{one.path.relative_to(results)}{mark}\n  {_why(one)}"),
        )
    return table


def _why(one: Leftover) -> str:
    return f"{one.why}; {seconds_in_words(one.run_seconds)} of training" if one.run_seconds else one.why
