"""Turn pydantic's errors into sentences: the key's path, the value, and what to write instead."""

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def explain(section: type[BaseModel], error: ValidationError, where: str) -> str:
    """One line for each wrong key of a section that stands at `where` (empty for the top)."""
    return "\n".join(_sentence(section, detail, where) for detail in error.errors())


def _sentence(section: type[BaseModel], detail: Any, where: str) -> str:
    location: tuple[str | int, ...] = detail["loc"]
    path = _dotted(where, location)
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown key; {_nearest(str(location[-1]), _keys_at(section, location[:-1]))}"
    if detail["type"] == "missing":
        return f"{path}: is missing; {_what(section, location)}"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return f"{path}: {message}"
    return f"{path}: {detail['input']!r}: {message[:1].lower() + message[1:]}{_hint(detail['input'])}"


def _dotted(where: str, location: tuple[str | int, ...]) -> str:
    text = where
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "settings"


def _keys_at(section: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    found: type[BaseModel] | None = section
    for part in location:
        found = _section_below(found, part) if found else None
    return list(found.model_fields) if found else []


def _section_below(section: type[BaseModel], part: str | int) -> type[BaseModel] | None:
    if isinstance(part, int) or part not in section.model_fields:
        return section
    return next(_sections_in(section.model_fields[part].annotation), None)


def _sections_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections_in(argument)


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known here: {', '.join(known)}" if known else "remove it"


def _what(section: type[BaseModel], location: tuple[str | int, ...]) -> str:
    found: type[BaseModel] | None = section
    for part in location[:-1]:
        found = _section_below(found, part) if found else None
    field = found.model_fields.get(str(location[-1])) if found else None
    return f"give {field.description}" if field and field.description else "give it a value"


def _hint(value: Any) -> str:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return ""
        return f" (YAML reads {value} as text; write a number with a point, such as 1.0e-4, and no quotes)"
    if isinstance(value, Mapping) and not value:
        return " (it is empty)"
    return ""
