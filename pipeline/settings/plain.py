"""Plain data from YAML and JSON files, with errors that say where in the file."""

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.settings.base import SettingsError


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of keys and values.

    Raises SettingsError with the line if it is missing or broken, or if a key stands in it twice.
    """
    try:
        data = yaml.load(_read_text(path), _UniqueKeys)  # a SafeLoader that refuses repeated keys
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {' '.join(str(error).split())}; correct it there") from None
    return _keys_and_values(path, data)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of keys and values.

    Raises SettingsError with the line if it is missing or broken, or if a key stands in it twice.
    """
    try:
        data = json.loads(_read_text(path), object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path} is not JSON: {error}; correct it there") from None
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from None
    return _keys_and_values(path, data)


def merge(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Lay overrides over a configuration as Snakemake's `--config` does: sections are merged, all else is replaced."""
    merged = dict(config)
    for key, value in overrides.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist; correct its name, or write it (see config/README.md)") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror})") from None


def _keys_and_values(path: Path, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise SettingsError(f"{path} holds {data!r:.60}, not keys with values; see config/README.md")
    return data


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {key!r} stands twice in one section; keep one of them")
    return dict(pairs)


class _UniqueKeys(yaml.SafeLoader):
    """YAML itself lets the last of two equal keys win, silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused below
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice in one section; keep one of them", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)
