"""Loading an exported folder with transformers, without its noise and with a stricter eye."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from pipeline.artifact.files import ArtifactError
from pipeline.export.config import MODEL_TYPES

LAYER = re.compile(r"model\.layers\.(\d+)\.")


def load_exported(folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The main model of an exported folder, in the precision on disk unless `dtype` says another.

    A folder may come from anywhere: none of its code is run and nothing in it is unpickled. Raises ArtifactError if it
    is no exported model, or if its weights are not exactly those that its configuration asks for; MTP modules, for
    which transformers has no use here, may stand beside them.
    """
    _require_export(folder)
    try:
        with _quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype or "auto",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:  # of any class: transformers promises none for a folder that it cannot read
        raise ArtifactError(f"{folder} cannot be loaded: {shorten(str(error), 300)}; export it again") from error
    strange = _without_mtp(report["unexpected_keys"], model.config.num_hidden_layers)
    wrong = sorted({*map(str, report["missing_keys"]), *strange})
    if wrong:
        raise ArtifactError(
            f"{folder}: its weights are not those of its config.json: {wrong[0]} is missing or unknown"
            f" ({len(wrong)} tensors); export it again"
        )
    return model.eval()


def _require_export(folder: Path) -> None:
    """Raise ArtifactError unless the folder says of itself that it is one that the step export writes."""
    path = folder / "config.json"
    if not path.is_file():
        raise ArtifactError(f"{folder} is no exported model: it has no config.json; name a folder of the step export")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is no JSON ({error}); export the model again") from None
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type not in MODEL_TYPES:
        raise ArtifactError(
            f"{folder} is no exported model: its model_type is {model_type!r}, exports have {' or '.join(MODEL_TYPES)};"
            " name a folder of the step export"
        )
    if "auto_map" in config:
        raise ArtifactError(
            f"{folder} asks for code of its own (auto_map in config.json), which is never run; exports need none:"
            " name a folder of the step export"
        )


def _without_mtp(keys: Iterable[str], num_layers: int) -> list[str]:
    layers = {key: LAYER.match(key) for key in keys}
    return [key for key, match in layers.items() if match is None or int(match[1]) < num_layers]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back transformers' progress bar and its table of MTP weights, which are checked here instead."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
