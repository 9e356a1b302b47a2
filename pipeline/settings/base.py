"""What all settings share: strictness, and the line between identity and execution."""

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo


class SettingsError(ValueError):
    """A setting that cannot be used. The message names the key's path, the value and the way out."""


class Settings(BaseModel):
    """A frozen section of the settings; an unknown key or a wrong type is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: str = "") -> Self:
        """Build the section from plain data (as YAML or JSON give it).

        Raises SettingsError that lists every wrong key, with its path below `where`.
        """
        try:
            # By way of JSON, so that a list may become a tuple while types stay strict.
            return cls.model_validate_json(json.dumps(data))
        except ValidationError as error:
            from pipeline.settings.explain import explain

            raise SettingsError(explain(cls, error, where)) from None
        except TypeError as error:
            raise SettingsError(f"{where or 'settings'}: not plain data: {error}") from None


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


def compose(identity_part: Mapping[str, Any], execution_part: Mapping[str, Any], section: type[Settings]) -> dict[str, Any]:
    """Put together again what `identity` and `execution_of` took apart, as plain data.

    Keys of `execution_part` that are no execution fields of the section are left out.
    """
    plain = dict(identity_part)
    for name, field in section.model_fields.items():
        if name not in execution_part:
            continue
        if is_execution(field):
            plain[name] = execution_part[name]
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Settings) and name in plain:
            plain[name] = compose(plain[name], execution_part[name], field.annotation)
    return plain


def _split(section: Settings, wanted: bool) -> dict[str, Any]:
    plain = section.model_dump(mode="json")
    parts: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if is_execution(field):
            if wanted:
                parts[name] = plain[name]
        elif isinstance(value, Settings):
            below = _split(value, wanted)
            if below or not wanted:
                parts[name] = below
        elif not wanted:
            parts[name] = plain[name]
    return parts
