"""Turn pydantic's errors into sentences: the key's path, the value, and what to write instead."""

import difflib
import re
import reprlib
from collections.abc import Iterable
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Location = tuple[str | int, ...]
SHOWN_CHARACTERS = 120
"""A longer value is shortened: the path says where it stands."""
WANTED = {
    "model_type": "keys with values are wanted here",
    "dict_type": "keys with values are wanted here",
    "tuple_type": "a list is wanted here, such as [first, second]",
}
"""Words of YAML and JSON, by pydantic's type of error, where pydantic's own are those of Python."""


def explain(section: type[BaseModel], error: ValidationError, where: str) -> str:
    """One line for each wrong key of a section that stands at `where`.

    `where` is empty for the top, a key's path such as `model`, or a file such as `demo.json:`.
    """
    return "\n".join(_sentence(section, detail, where) for detail in error.errors())


def _sentence(section: type[BaseModel], detail: Any, where: str) -> str:
    location: Location = detail["loc"]
    path, value = _path(where, location), detail["input"]
    message = WANTED.get(detail["type"], str(detail["msg"]))
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown key; {_nearest(str(location[-1]), _fields(_annotation_at(section, location[:-1])))}"
    if detail["type"] == "missing":
        return f"{path}: is missing; {_what(section, location)}"
    if detail["type"] == "value_error":
        return _own_sentence(section, location, where, message.removeprefix("Value error, "))
    return f"{path}: {_shown(value)}: {_lower(message)}{_hint(value)}"


def _own_sentence(section: type[BaseModel], location: Location, where: str, message: str) -> str:
    """The message of a validator of ours; it may begin with a key below `location`, or with the key there itself."""
    first = re.match(r"\w*", message)
    word = first[0] if first else ""
    if location and word == location[-1]:
        return _path(where, location) + message[len(word) :]
    if word in _fields(_annotation_at(section, location)):
        return _path(where, (*location, message))
    return f"{_path(where, location)}: {message}"


def _path(where: str, location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    if where.endswith(":"):
        return f"{where} {text.lstrip('.')}".rstrip(": ")
    return (where + text).lstrip(".") or "settings"


def _annotation_at(section: Any, location: Iterable[str | int]) -> Any:
    """The type of what stands at `location` in a section, or None if nothing is known there."""
    found = section
    for part in location:
        found = _annotation_below(_required(found), part)
    return found


def _annotation_below(annotation: Any, part: str | int) -> Any:
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0]
    field = _fields(annotation).get(str(part))
    return field.annotation if field else None


def _required(annotation: Any) -> Any:
    """The type of an optional value that is there."""
    if isinstance(annotation, UnionType):
        return next(argument for argument in get_args(annotation) if argument is not type(None))
    return annotation


def _fields(annotation: Any) -> dict[str, FieldInfo]:
    """The fields of a section by key; none if the annotation is no section."""
    section = _required(annotation)
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return {}
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _nearest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known here: {', '.join(known)}"


def _what(section: type[BaseModel], location: Location) -> str:
    field = _fields(_annotation_at(section, location[:-1])).get(str(location[-1]))
    if field is None or not field.description:
        return "give it a value"
    return f"give {_lower(field.description.split('. ')[0].rstrip('.'))}"


def _lower(sentence: str) -> str:
    """A sentence as it stands within another: `MLA` and its like keep their capitals."""
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() else sentence


def _shown(value: Any) -> str:
    short = reprlib.Repr()
    short.maxstring = short.maxother = SHOWN_CHARACTERS
    return short.repr(value)


def _hint(value: Any) -> str:
    """The way out for a number that was read as text."""
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if value.isdecimal():
        return f" (this is text: write {value}, without quotes)"
    written = repr(number) if "." in repr(number) else f"{number:.1e}"
    return f" (this is text: write {written}, with a point and without quotes; YAML takes 1e-4 for text)"
