"""What of a workflow is as it should be, what runs again, and why. Known before anything runs, without torch.

The Snakefile's rules and the command line both ask it, so they cannot disagree.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.artifact.change import Change, changes, summary
from pipeline.artifact.code import code_files
from pipeline.artifact.cost import EXPENSIVE_SECONDS, seconds_taken
from pipeline.artifact.fingerprint import Identity, source_of
from pipeline.artifact.manifest import MANIFEST, Manifest, Source
from pipeline.artifact.state import files_known, find_made, restore_manifest
from pipeline.artifact.step import unasked
from pipeline.artifact.verify import damage, recorded
from pipeline.nodes import Node, nodes_of
from pipeline.settings.base import SettingsError
from pipeline.settings.project import Project
from pipeline.steps import STEPS

READ_BYTES = 256 << 20
"""A user's own corpus up to this size is compared by content at each start: it takes a fifth of a second."""


@dataclass(frozen=True)
class State:
    """Whether an artifact's step runs, and why."""

    runs: bool
    changes: tuple[Change, ...] = ()
    """Its own reasons. It may run without one: because something that it is made of runs."""

    @property
    def why(self) -> str:
        """Its reasons in one line."""
        if not self.runs:
            return ""
        return summary(self.changes) or "what it is made of is made again"


class Graph:
    """The artifacts of a workflow by name, each after those it is made of."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.results = Path(project.workflow.results)
        self.nodes = {node.name: node for node in nodes_of(project)}
        self._check_rebuild(project.workflow.rebuild)
        self._written = {name: _written(self.manifest(name)) for name in self.nodes}
        self._records: dict[str, Manifest | None] = {}
        self._sources: dict[str, Source | None] = {}
        self._plans: dict[str, Identity | None] = {}
        self._states: dict[str, State] = {}
        self._code: dict[str, Mapping[str, str]] = {}

    def named(self, step: str) -> list[str]:
        """The artifacts that a step makes."""
        return [node.name for node in self.nodes.values() if node.step == step]

    def folder(self, name: str) -> Path:
        """Where an artifact lies."""
        return self.results / name

    def manifest(self, name: str) -> Path:
        """The file that declares an artifact."""
        return self.folder(name) / MANIFEST

    def record(self, name: str) -> Manifest | None:
        """What an artifact's folder holds; None where it holds nothing that can be trusted."""
        if name not in self._records:
            self._records[name] = recorded(self.folder(name))
        return self._records[name]

    def state(self, name: str) -> State:
        """Whether an artifact's step runs, and why."""
        if name not in self._states:
            self._states[name] = self._find_state(self.nodes[name])
        return self._states[name]

    def settled(self, name: str) -> bool:
        """Whether an artifact and all that it is made of were made as settings, code and inputs want them now."""
        record, planned = self.record(name), self.planned(name)
        return record is not None and planned is not None and record.fingerprint == planned.fingerprint

    def planned(self, name: str) -> Identity | None:
        """What an artifact would be made of now; None while an input is still to come."""
        if name not in self._plans:
            self._plans[name] = self._plan(self.nodes[name])
        return self._plans[name]

    def code(self, step: str) -> Mapping[str, str]:
        """The digest of every file of a step's code."""
        if step not in self._code:
            self._code[step] = code_files(STEPS[step].module)
        return self._code[step]

    def running(self) -> list[str]:
        """The artifacts whose step runs, in an order in which they can be made."""
        return [name for name in self.nodes if self.state(name).runs]

    def needed(self, name: str) -> tuple[str, ...]:
        """What has to be there before an artifact's step starts: its inputs, and the gate that it waits for."""
        node = self.nodes[name]
        return (*node.inputs, node.gate) if node.gate else node.inputs

    def runs_above(self, name: str) -> bool:
        """Whether the step of anything runs that comes before an artifact."""
        return name in self._below_running

    def is_made(self, name: str) -> bool:
        """Whether an artifact's step would find its work done. Looked at now, when what it is made of has been made."""
        node = self.nodes[name]
        if any(self.state(one).runs and _written(self.manifest(one)) == self._written[one] for one in node.inputs):
            return False  # it is not made again yet
        records = [recorded(self.folder(one)) if self.state(one).runs else self.record(one) for one in node.inputs]
        if not all(records):
            return False
        inputs = (source_of(STEPS[record.step].role, record) for record in records if record)
        return find_made(self.folder(name), self._identity(node, inputs)) is not None

    def refusal(self, name: str) -> str | None:
        """Why an expensive finished run is not made again unasked; None where there is no such reason."""
        record, state, planned = self.record(name), self.state(name), self.planned(name)
        changed = [change for change in state.changes if change.kind != "lost"]
        if record is None or not changed or self.project.workflow.rebuild == name:
            return None
        if seconds_taken(record) <= EXPENSIVE_SECONDS or (planned and find_made(self.folder(name), planned)):
            return None
        return unasked(name, seconds_taken(record), state.why)

    def restore_manifests(self) -> None:
        """Declare again what is settled but lost its manifest; nothing has to run for it."""
        for name in self.nodes:
            if self.settled(name):
                restore_manifest(self.results, name)

    def execution(self, name: str, workers: int) -> dict[str, Any]:
        """How an artifact is computed on so many cores."""
        node = self.nodes[name]
        gate = {"gate": str(self.manifest(node.gate))} if node.gate else {}
        return {**node.execution, **gate, "workers": workers}

    def _check_rebuild(self, name: str) -> None:
        runs = self.named("train")
        if name and name not in runs:
            raise SettingsError(f"rebuild is {name!r}, which is no run of this workflow; name one of {', '.join(runs)}")

    def _find_state(self, node: Node) -> State:
        record = self.record(node.name)
        if record is None:
            return State(True, (Change("missing", "it is not there"),))
        if self.settled(node.name):
            lost = tuple(Change("lost", f"{path} {what}") for path, what in damage(self.folder(node.name), record))
            return State(bool(lost), lost)
        planned = self.planned(node.name)
        found = changes(record, node.settings, self.code(node.step), planned.inputs if planned else None)
        if not found and all(self._source(name) for name in node.inputs):
            found = (Change("unread", "its files were touched or replaced and have to be read"),)
        return State(True, found)

    def _plan(self, node: Node) -> Identity | None:
        files = files_known(node.files, self.record(node.name), self._reads_files)
        inputs = [self._source(name) for name in node.inputs]
        known = [source for source in inputs if source is not None]
        return None if files is None or len(known) < len(inputs) else self._identity(node, known, files)

    def _identity(self, node: Node, inputs: Iterable[Source], files: Sequence[Source] = ()) -> Identity:
        ordered = sorted(inputs, key=lambda one: (one.role, one.artifact))
        return Identity(node.step, node.settings, self.code(node.step), (*ordered, *files))

    def _source(self, name: str) -> Source | None:
        """An artifact as an input of others; None where its content is not known before it is made."""
        if name not in self._sources:
            record = self.record(name)
            if record is not None:
                settled = self.settled(name)
                self._sources[name] = source_of(STEPS[record.step].role, record) if settled else None
            else:
                self._sources[name] = self._remembered(name)
        return self._sources[name]

    def _remembered(self, name: str) -> Source | None:
        """What a deleted artifact was, as one that was made of it tells: made again it is the same.

        Not of a training run: on a GPU the same settings can give other bytes.
        """
        step, planned = STEPS[self.nodes[name].step], self.planned(name)
        if planned is None or step.resumes or not step.repeatable:
            return None
        return self._used.get((name, planned.fingerprint))

    @cached_property
    def _used(self) -> dict[tuple[str, str], Source]:
        """The inputs that all artifacts were made of, by name and fingerprint."""
        records = filter(None, map(self.record, self.nodes))
        return {(source.artifact, source.fingerprint): source for record in records for source in record.inputs}

    @cached_property
    def _reads_files(self) -> bool:
        """Whether the user's own files are few enough to be read now."""
        files = {path for node in self.nodes.values() for path in node.files}
        return sum(path.stat().st_size for path in files) <= READ_BYTES

    @cached_property
    def _below_running(self) -> set[str]:
        below: set[str] = set()
        for name in self.nodes:
            if any(one in below or self.state(one).runs for one in self.needed(name)):
                below.add(name)
        return below


def _written(path: Path) -> tuple[int, int] | None:
    """What tells one writing of a file from the next."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
