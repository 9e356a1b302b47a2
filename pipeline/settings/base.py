"""What all settings share: strictness, and the line between identity and execution."""

import importlib
import json
from collections.abc import Mapping
from datetime import date
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo


class SettingsError(ValueError):
    """A setting that cannot be used. The message names the key's path, the value and the way out."""


class Settings(BaseModel):
    """A frozen section of the settings; an unknown key or a wrong type is an error."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: str = "") -> Self:
        """Build the section from plain data (as YAML or JSON give it).

        Raises SettingsError that lists every wrong key, with its path below `where`.
        """
        try:
            # By way of JSON, so that a list may become a tuple while types stay strict.
            return cls.model_validate_json(json.dumps(data, default=_as_text))
        except ValidationError as error:
            # By name, so that the wording of errors is no part of a step's code.
            explain = importlib.import_module("pipeline.settings.explain").explain
            raise SettingsError(explain(cls, error, where)) from None
        except (TypeError, RecursionError, ValueError) as error:
            raise SettingsError(
                f"{where.rstrip(':') or 'settings'}: {error}; use text, numbers, lists and keys with values only"
            ) from None


def execution(default: Any = ..., **constraints: Any) -> Any:
    """Declare a field that says how an artifact is computed, never what it is (GPUs, workers, paths).

    Such a field stays out of `identity`, so changing it leaves nothing stale.
    """
    return Field(default, json_schema_extra={"execution": True}, **constraints)


def is_execution(field: FieldInfo) -> bool:
    """Whether a field was declared with `execution`."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("execution"))


def identity(section: Settings) -> dict[str, Any]:
    """The fields of a section that decide an artifact's content, as plain data."""
    return _split(section, wanted=False)


def execution_of(section: Settings) -> dict[str, Any]:
    """The fields of a section that only say how the artifact is computed, as plain data."""
    return _split(section, wanted=True)


def compose(
    identity_part: Mapping[str, Any], execution_part: Mapping[str, Any], section: type[Settings]
) -> dict[str, Any]:
    """Put together again what `identity` and `execution_of` took apart, as plain data.

    Keys of `execution_part` that are no execution fields of the section are left out.
    """
    plain = dict(identity_part)
    for name, field in section.model_fields.items():
        key = field.alias or name
        if key not in execution_part:
            continue
        if is_execution(field):
            plain[key] = execution_part[key]
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Settings) and key in plain:
            plain[key] = compose(plain[key], execution_part[key], field.annotation)
    return plain


def _split(section: Settings, wanted: bool) -> dict[str, Any]:
    plain = section.model_dump(mode="json", by_alias=True)
    parts: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        key, value = field.alias or name, getattr(section, name)
        if is_execution(field):
            if wanted:
                parts[key] = plain[key]
        elif isinstance(value, Settings):
            below = _split(value, wanted)
            if below or not wanted:
                parts[key] = below
        elif not wanted:
            parts[key] = plain[key]
    return parts


def _as_text(value: Any) -> str:
    """YAML reads an unquoted 2026-01-31 as a date; it was meant as text."""
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{value!r} is a {type(value).__name__}")
