"""The gate between two stages: whether what a stage reached is good enough to build on."""

from dataclasses import dataclass

from pipeline.settings.evaluation import GateSettings


@dataclass(frozen=True)
class Results:
    """The figures that the gate looks at."""

    bits_per_byte: float
    """Of the mixture."""
    unigram_bits_per_byte: float
    """Of the unigram model of the training tokens, on the same text."""
    expert_violation: float
    """The largest of all layers, see `load.violation`; 0 for a model without experts."""


def judge(gate: GateSettings, results: Results) -> tuple[bool, list[str]]:
    """Whether the stage passes, and every reason why not, each with the figure, the limit and the setting."""
    reasons = []
    if gate.below_unigram and not results.bits_per_byte < results.unigram_bits_per_byte:
        reasons.append(
            f"{results.bits_per_byte:.4f} bits per byte are not below the unigram model's "
            f"{results.unigram_bits_per_byte:.4f} (gate.below_unigram)"
        )
    if gate.max_bits_per_byte is not None and not results.bits_per_byte <= gate.max_bits_per_byte:
        reasons.append(
            f"{results.bits_per_byte:.4f} bits per byte exceed {gate.max_bits_per_byte} (gate.max_bits_per_byte)"
        )
    if gate.max_expert_violation is not None and not results.expert_violation <= gate.max_expert_violation:
        reasons.append(
            f"the busiest expert exceeds the mean load by {results.expert_violation:.2f}, "
            f"allowed is {gate.max_expert_violation} (gate.max_expert_violation)"
        )
    return not reasons, reasons
