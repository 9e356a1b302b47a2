"""Whether transformers computes with the exported folder what the checkpoint computes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.artifact.files import ArtifactError
from pipeline.export.load import load_exported
from pipeline.model.balance import moe_layers
from pipeline.model.deepseek import DeepSeekV3

TOLERANCE = 1e-5
"""Largest difference of logits whose standard deviation is 1 or less; larger ones may differ in proportion."""
SEQUENCES = 8
MOST_TOKENS = 64
MOST_TIED = 1
"""Sequences in which a near-tie between experts may have gone the other way, by rounding alone."""


@dataclass(frozen=True)
class Parity:
    """The comparison's figures."""

    largest_difference: float
    """Of all logits, over the scale of the logits."""
    tied_sequences: int
    """Sequences left out because an expert was chosen differently in a near-tie."""

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {"largest_difference": self.largest_difference, "tied_sequences": self.tied_sequences}


@torch.no_grad()
def check_parity(folder: Path, model: DeepSeekV3) -> Parity:
    """Load the folder with transformers and compare logits on random tokens, in fp32.

    Raises ArtifactError if they differ by more than rounding.
    """
    reference = load_exported(folder, torch.float32)
    length = min(MOST_TOKENS, model.settings.max_position_embeddings)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.settings.vocab_size, (SEQUENCES, length), generator=generator)
    ours, our_choices = _logits_and_choices(model.eval(), [moe.gate for _, moe in moe_layers(model)], tokens)
    gates = [layer.mlp.gate for layer in reference.model.layers if hasattr(layer.mlp, "gate")]
    theirs, their_choices = _logits_and_choices(reference, gates, tokens)
    differences = (ours - theirs).abs().amax((1, 2)) / ours.std().clamp(min=1.0)  # [SEQUENCES]
    apart = ~(differences <= TOLERANCE)  # so that NaN is apart
    tied = apart & (our_choices != their_choices).any(-1)
    if (apart & ~tied).any() or tied.sum() > MOST_TIED:
        raise ArtifactError(
            f"{folder}: loaded by transformers, the logits differ from the checkpoint's by up to"
            f" {differences.max().item():.2e} in {int(apart.sum())} of {SEQUENCES} sequences, allowed is"
            f" {TOLERANCE:.0e}; this version of transformers computes another model: use the version that"
            " pyproject.toml pins"
        )
    return Parity(differences[~apart].max().item(), int(tied.sum()))


def _logits_and_choices(model: nn.Module, gates: list[nn.Module], tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [B, S, V], and the experts that the main model's routers chose, sorted, [B, everything]."""
    seen: list[Tensor] = []
    hooks = [gate.register_forward_hook(lambda _gate, _inputs, out: seen.append(_experts_of(out))) for gate in gates]
    try:
        out = model(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    choices = [chosen.reshape(len(tokens), -1, chosen.shape[-1]).sort(-1).values.flatten(1) for chosen in seen]
    logits = out if isinstance(out, Tensor) else out.logits
    return logits, torch.cat(choices, 1) if choices else tokens.new_zeros(len(tokens), 0)


def _experts_of(routed: tuple[Tensor, ...]) -> Tensor:
    """The chosen experts in a router's output: its only integers, here and in transformers."""
    return next(tensor for tensor in routed if not tensor.is_floating_point())
