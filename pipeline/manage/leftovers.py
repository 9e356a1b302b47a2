"""What nothing refers to in a results folder. Found by looking only; nothing is deleted here."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.artifact.cost import EXPENSIVE_SECONDS, seconds_taken
from pipeline.artifact.files import is_temporary
from pipeline.artifact.manifest import Manifest
from pipeline.artifact.publish import WORKING, aside_folder, building_folder
from pipeline.artifact.verify import damage, recorded
from pipeline.graph import Graph
from pipeline.manage.holder import lease_holder, lock_holder
from pipeline.manage.places import Place, places
from pipeline.manage.references import content_of, referred
from pipeline.manage.tree import Measure, below, measure
from pipeline.steps import STEPS
from pipeline.train.checkpoints import checkpoints, is_partial
from pipeline.train.lines import JsonLines

Kind = Literal["aside", "unfinished", "not made here", "checkpoint", "temporary"]


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can go."""

    path: Path
    artifact: str
    """Whose lock guards it."""
    kind: Kind
    why: str
    size: Measure
    run_seconds: float = 0.0
    """How long a training run took that would be lost with it."""

    @property
    def is_expensive(self) -> bool:
        """Whether it takes another word to delete it."""
        return self.run_seconds > EXPENSIVE_SECONDS


@dataclass(frozen=True)
class Found:
    """All leftovers of a results folder, and what was left out."""

    leftovers: tuple[Leftover, ...]
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of all together."""
        return sum(one.size.bytes for one in self.leftovers)


def find_leftovers(graph: Graph, older_than_seconds: float = 0.0) -> Found:
    """What nothing refers to, in the order of the paths. Artifacts that are being worked on are left out.

    And what has a file that changed less than `older_than_seconds` ago.
    """
    newest = time.time() - older_than_seconds
    here = list(places(graph.results, graph.nodes))
    search = _Search(graph, {place.path: record for place in here if (record := recorded(place.path)) is not None})
    found = (one for place in here for one in search.leftovers(place))
    leftovers = tuple(one for one in found if one.size.modified <= newest)
    return Found(leftovers, tuple(dict.fromkeys(search.notes)))


class _Search:
    """Judges one place after the other."""

    def __init__(self, graph: Graph, records: Mapping[Path, Manifest]) -> None:
        self._graph = graph
        self._records = records
        self._wanted = referred(graph, {content_of(record): record for record in records.values()})
        self.notes: list[str] = []
        """What was left out."""

    def leftovers(self, place: Place) -> Iterator[Leftover]:
        """What can go of a place: all, a part, or nothing."""
        if place.kind == "link":
            self.notes.append(f"{place.name} is a link and not followed")
        elif holder := self._holder(place):
            self.notes.append(f"{place.name} is left out: {holder} is at work on it")
        elif judged := self._judge(place):
            yield Leftover(place.path, place.name, *judged, measure(place.path), self._run_seconds(place))
        else:
            yield from self._checkpoints(place)
            yield from self._half_written(place)

    def _judge(self, place: Place) -> tuple[Kind, str] | None:
        """Why a whole place can go; None where it cannot."""
        if place.kind == "artifact":
            return self._judge_artifact(place)
        if self._is_referred(place) or self._may_be_taken_up(place):
            return None
        if place.kind == "aside":
            return "aside", "what it was before another took its place"
        return "unfinished", self._why_unfinished(place)

    def _judge_artifact(self, place: Place) -> tuple[Kind, str] | None:
        if place.name in self._graph.nodes or self._is_referred(place):
            return None
        return "not made here", "this configuration does not make it; another that shares the folder may"

    def _is_referred(self, place: Place) -> bool:
        """Whether an artifact of the workflow was made of it, and nothing in its place is the same."""
        record = self._records.get(place.path)
        if record is None or content_of(record) not in self._wanted:
            return False
        current = self._records.get(self._graph.folder(place.name))
        return place.kind == "artifact" or current is None or current.content != record.content

    def _may_be_taken_up(self, place: Place) -> bool:
        """Whether the artifact's step would go on with it, or put it back."""
        graph, name = self._graph, place.name
        if name not in graph.nodes or not graph.state(name).runs:
            return False
        planned = graph.planned(name)
        if planned is None:
            shown = place.path.relative_to(graph.results)
            self.notes.append(f"{shown} is left out: its step may take it up, which shows once its inputs are made")
            return True
        folder = graph.folder(name)
        taken_up = {building_folder(folder, planned.run), aside_folder(folder, planned.fingerprint)}
        return place.path in taken_up

    def _why_unfinished(self, place: Place) -> str:
        name = place.name
        if name not in self._graph.nodes:
            return "half-made, and this configuration does not make it; another that shares the folder may"
        if not STEPS[self._graph.nodes[name].step].resumes:
            return "half-made by a step that was killed"
        if not self._graph.state(name).runs:
            return "an unfinished run, while a finished one is in place"
        return "an unfinished run of other settings or inputs"

    def _checkpoints(self, place: Place) -> Iterator[Leftover]:
        """The checkpoints on the way of a finished run: its last one is among its own files."""
        record = self._records.get(place.path)
        if place.kind != "artifact" or record is None or any(damage(place.path, record)):
            return
        for path in checkpoints(place.path / WORKING):
            if path.is_symlink():
                continue
            yield Leftover(path, place.name, "checkpoint", "on the way of a run that is finished", measure(path))

    @staticmethod
    def _half_written(place: Place) -> Iterator[Leftover]:
        partial: list[Path] = []
        for path in below(place.path):
            if any(path.is_relative_to(one) for one in partial):
                continue
            if is_partial(path) or is_temporary(path):
                partial.append(path)
                yield Leftover(path, place.name, "temporary", "left by a write that was killed", measure(path))

    def _holder(self, place: Place) -> str | None:
        """Who is at work on a place now."""
        if holder := lock_holder(self._graph.results, place.name):
            return f"process {holder}"
        lease = lease_holder(place.path / WORKING)
        return str(lease) if lease and lease.alive else None

    def _run_seconds(self, place: Place) -> float:
        if not place.name.startswith("train/"):
            return 0.0
        if record := self._records.get(place.path):
            return seconds_taken(record)
        rows = JsonLines(place.path / WORKING / "metrics.jsonl").rows()
        return sum(float(row.get("seconds") or 0.0) for row in rows)
