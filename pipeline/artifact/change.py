"""In what an artifact that was made differs from what would be made now, field by field, for people and programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.artifact.manifest import FILE_ROLE, Manifest, Source

Kind = Literal["missing", "settings", "code", "input", "lost", "unread"]
SHOWN_CHARACTERS = 60
SHOWN_CHANGES = 3


@dataclass(frozen=True)
class Change:
    """One reason to make an artifact again."""

    kind: Kind
    what: str
    """The key's path, the file of code, the input artifact, or the lost file."""
    before: Any = None
    now: Any = None

    def __str__(self) -> str:
        if self.kind == "settings":
            return f"{self.what}: {_shown(self.before)} -> {_shown(self.now)}"
        if self.kind == "code":
            return f"code of {self.what} {_verb(self.before, self.now)}"
        if self.kind == "input":
            return f"input {self.what} {_verb(self.before, self.now)}"
        return self.what


def summary(found: Sequence[Change]) -> str:
    """Some changes in one line: of each kind the first few, and how many more there are."""
    by_kind: dict[str, list[Change]] = {}
    for change in found:
        by_kind.setdefault(change.kind, []).append(change)
    return "; ".join(_first_few(changes) for changes in by_kind.values())


def _first_few(found: Sequence[Change]) -> str:
    more = len(found) - SHOWN_CHANGES
    return "; ".join(map(str, found[:SHOWN_CHANGES])) + (f" and {more} more" if more > 0 else "")


def settings_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Each key whose value differs, by its path."""
    old, new = dict(_flat(before)), dict(_flat(now))
    for path in sorted({*old, *new}):
        if old.get(path) != new.get(path):
            yield Change("settings", path, old.get(path), new.get(path))


def code_changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    """Each file of code that changed in meaning, came or went."""
    for path in sorted({*before, *now}):
        if before.get(path) != now.get(path):
            yield Change("code", path, before.get(path), now.get(path))


def input_changes(before: Sequence[Source], now: Sequence[Source]) -> Iterator[Change]:
    """Each input whose content changed, that came or that went."""
    old, new = _contents(before), _contents(now)
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            name = key[1].partition(":")[2] if key[0] == FILE_ROLE else key[1]
            yield Change("input", name, old.get(key), new.get(key))


def changes(
    record: Manifest,
    settings: Mapping[str, Any],
    code_files: Mapping[str, str],
    inputs: Sequence[Source] | None,
) -> tuple[Change, ...]:
    """All differences of an artifact from what would be made now; `inputs` is None while they are not known."""
    found = [*settings_changes(record.settings, settings), *code_changes(record.code_files, code_files)]
    if inputs is not None:
        found.extend(input_changes(record.inputs, inputs))
    return tuple(found)


def _contents(sources: Sequence[Source]) -> dict[tuple[str, str], str]:
    return {(source.role, source.artifact): source.content for source in sources}


def _flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _verb(before: Any, now: Any) -> str:
    if before is None:
        return "is new"
    return "is no longer used" if now is None else "changed"
