"""How the exported folder is written."""

from typing import Literal

from pydantic import Field

from pipeline.settings.base import Settings, SettingsError
from pipeline.settings.model import ModelSettings


class ExportSettings(Settings):
    """The workflow's section `export`."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights on disk; router biases and their like stay in float32."""
    max_shard_bytes: int = Field(5_000_000_000, ge=1_000_000)
    """The largest a safetensors file becomes, unless a single tensor is larger."""
    data_licence: str = ""
    """The licence of the training text, as the model card shall state it."""


class ExportStep(ExportSettings):
    """What decides the content of `export/<stage>`, beside its inputs."""


def check_exportable(model: ModelSettings) -> None:
    """Whether transformers knows a model of these settings.

    Raises SettingsError that names the key and the way out. Asked when settings are read, so that nobody trains for
    weeks what cannot be exported.
    """
    if model.moe.score != "sigmoid":
        raise SettingsError(
            f"model.moe.score: {model.moe.score!r}: the models that transformers knows with this attention and this"
            " router bias have sigmoid scores, so the export would compute something else; write sigmoid"
        )
