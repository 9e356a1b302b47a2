"""The workflow that a tool is asked about: named on the command line as it is for Snakemake."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.graph import Graph
from pipeline.settings.base import SettingsError
from pipeline.settings.plain import merge, read_yaml
from pipeline.settings.project import load_project

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "config" / "demo.yaml"


def read_graph(configfiles: Sequence[Path], overrides: Sequence[str]) -> Graph:
    """The graph of what `snakemake --configfile ... --config ...` would run in this folder.

    Raises SettingsError that names the key, the value and the way out.
    """
    config: dict[str, Any] = {}
    for path in configfiles or [DEFAULT]:
        config = merge(config, read_yaml(path))
    for override in overrides:
        config = merge(config, _override(override))
    return Graph(load_project(config, roots=[Path(), ROOT]))


def _override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise SettingsError(f"--config {text!r}: write KEY=VALUE, for instance results=/scratch/results")
    try:
        return {key: yaml.safe_load(value)}
    except yaml.YAMLError as error:
        raise SettingsError(f"--config {text!r}: the value is not YAML ({error})") from None
