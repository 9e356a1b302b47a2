"""A trained model from its artifact, checked against the settings it was trained with."""

from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline.artifact.artifact import Artifact
from pipeline.artifact.files import ArtifactError
from pipeline.evaluate.layout import WEIGHTS
from pipeline.model.balance import reset_counts
from pipeline.model.deepseek import DeepSeekV3
from pipeline.settings.model import ModelSettings


def load_model(train: Artifact, device: torch.device) -> DeepSeekV3:
    """The final weights of a `train/<stage>` artifact, in evaluation mode.

    Raises ArtifactError if the file is damaged, or if its tensors are not those of the settings in the manifest.
    """
    settings = ModelSettings.parse(train.manifest.settings["model"], f"{train.name}: model")
    try:
        state = load_file(train.path(WEIGHTS))
    except SafetensorError as error:
        raise ArtifactError(f"{train.name}: {WEIGHTS} is damaged ({error}); run the workflow again") from None
    with torch.device("meta"):
        model = DeepSeekV3(settings)
    _require_shapes(train.name, _shapes(model.state_dict()), _shapes(state))
    model.to_empty(device=device)
    model.load_state_dict(state)
    reset_counts(model)
    return model.eval()


def _require_shapes(name: str, wanted: dict[str, torch.Size], found: dict[str, torch.Size]) -> None:
    wrong = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if wrong:
        key = wrong[0]
        raise ArtifactError(
            f"{name}: {WEIGHTS} is a checkpoint of other settings: {key} is {_shape(found, key)}, the settings want "
            f"{_shape(wanted, key)} ({len(wrong)} tensors differ); train the stage again or put its own file back"
        )


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _shape(shapes: dict[str, torch.Size], key: str) -> str:
    return str(list(shapes[key])) if key in shapes else "absent"
