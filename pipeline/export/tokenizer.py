"""The tokenizer's files, so that `AutoTokenizer.from_pretrained` reads them without remote code."""

import json
import shutil
from pathlib import Path
from typing import Any

from pipeline.settings.model import ModelSettings
from pipeline.tokenizer.special import SPECIAL_TOKENS, SpecialIds


def write_tokenizer(folder: Path, tokenizer: Path, model: ModelSettings) -> None:
    """Copy tokenizer.json and write what transformers wants to know besides."""
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(_json(_tokenizer_config(model)), encoding="utf-8")


def _tokenizer_config(model: ModelSettings) -> dict[str, Any]:
    names = dict(zip(SpecialIds._fields, SPECIAL_TOKENS, strict=True))
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": names["begin"],
        "eos_token": names["end"],
        "pad_token": names["pad"],
        "additional_special_tokens": [names["fim_hole"], names["fim_begin"], names["fim_end"]],
        "clean_up_tokenization_spaces": False,
        "model_max_length": model.max_position_embeddings,
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
