"""Loading an exported folder with transformers, without its noise and with a stricter eye."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from pipeline.artifact.files import ArtifactError

LAYER = re.compile(r"model\.layers\.(\d+)\.")


def load_exported(folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The main model of an exported folder, in the precision on disk unless `dtype` says another.

    Raises ArtifactError if the folder is no exported model, or if its weights are not exactly those that its
    configuration asks for; MTP modules, for which transformers has no use here, may stand beside them.
    """
    if not (folder / "config.json").is_file():
        raise ArtifactError(f"{folder} is no exported model: it has no config.json; name a folder of the step export")
    with _quiet():
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype or "auto", local_files_only=True, output_loading_info=True
        )
    strange = _without_mtp(report["unexpected_keys"], model.config.num_hidden_layers)
    wrong = sorted({*map(str, report["missing_keys"]), *map(str, report["mismatched_keys"]), *strange})
    if wrong:
        raise ArtifactError(
            f"{folder}: its weights are not those of its config.json: {wrong[0]} is missing, unknown or of another"
            f" shape ({len(wrong)} tensors); export it again"
        )
    return model.eval()


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
