"""What changes as tokens go by: pure functions of the tokens seen, whatever the batch or the number of processes."""

import math

from pipeline.settings.training import MTPWeight, Schedule


def learning_rate(tokens: int, peak: float, total_tokens: int, schedule: Schedule) -> float:
    """The learning rate after `tokens` tokens: a linear rise, perhaps a plateau, a cosine decay, then constant.

    DeepSeek-V3 (arXiv 2412.19437, section 4.2) is `constant_then_cosine`; its second plateau is what follows the decay.
    """
    warmup = schedule.warmup_tokens
    if tokens < warmup:
        return peak * tokens / warmup
    decay_start = warmup + schedule.constant_tokens
    if tokens <= decay_start:
        return peak
    decay_tokens = schedule.decay_tokens or max(1, total_tokens - decay_start)
    progress = min(1.0, (tokens - decay_start) / decay_tokens)
    floor = schedule.final_fraction
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def mtp_weight(tokens: int, total_tokens: int, weight: MTPWeight) -> float:
    """The weight of the multi-token prediction loss (lambda in DeepSeek-V3, equation 25) after `tokens` tokens."""
    return weight.initial if tokens < weight.switch_fraction * total_tokens else weight.final


def bias_update_speed(tokens: int, total_tokens: int, speed: float, until_fraction: float) -> float:
    """How far router biases move in a step (gamma in DeepSeek-V3, section 2.1.2): `speed`, and 0 towards the end."""
    return speed if tokens <= until_fraction * total_tokens else 0.0
