"""From sums over scored tokens to the figures that people compare: loss, perplexity, bits per byte, accuracy."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

MIXTURE = "(mixture)"
"""The row that weighs all domains by their share of the training tokens; no domain can be called so."""


@dataclass
class Tally:
    """Sums over the scored targets of one domain. A target is a token that the model predicts; padding is none."""

    row_nats: list[float] = field(default_factory=list)
    """Cross-entropy of each row's targets."""
    row_bytes: list[int] = field(default_factory=list)
    """Bytes of text that each row's targets stand for; special tokens stand for none."""
    targets: int = 0
    correct: int = 0
    mtp_targets: list[int] = field(default_factory=list)
    """Targets of each MTP depth."""
    mtp_correct: list[int] = field(default_factory=list)
    """Targets that each MTP depth ranked first."""
    mtp_offered: list[int] = field(default_factory=list)
    """Targets of each MTP depth that the main model, one or more tokens later, ranks first itself."""
    mtp_accepted: list[int] = field(default_factory=list)
    """Those of `mtp_offered` that the depth ranked first too."""

    def add_rows(self, nats: np.ndarray, text_bytes: np.ndarray, mask: np.ndarray, correct: np.ndarray) -> None:
        """Count the main model's scores of some rows: four arrays [rows, targets], 0 or false where `mask` is false."""
        self.row_nats.extend(nats.sum(1, dtype=np.float64).tolist())
        self.row_bytes.extend(text_bytes.sum(1, dtype=np.int64).tolist())
        self.targets += int(mask.sum())
        self.correct += int(correct.sum())

    def add_depth(self, depth: int, mask: np.ndarray, correct: np.ndarray, main_correct: np.ndarray) -> None:
        """Count the scores of one MTP depth on the same rows: three arrays [rows, targets].

        `correct` and `main_correct` are false at padding. Depth k at place i predicts what the main model predicts at
        place i + 1 + k; where that is beyond the row, only the accuracy counts.
        """
        for sums in (self.mtp_targets, self.mtp_correct, self.mtp_offered, self.mtp_accepted):
            sums.extend([0] * (depth + 1 - len(sums)))
        offered = main_correct[:, depth + 1 :]
        self.mtp_targets[depth] += int(mask.sum())
        self.mtp_correct[depth] += int(correct.sum())
        self.mtp_offered[depth] += int(offered.sum())
        self.mtp_accepted[depth] += int((offered & correct[:, : offered.shape[1]]).sum())


@dataclass(frozen=True)
class Measures:
    """What a model reaches on one domain, or on the mixture of all."""

    nats_per_token: float
    """Mean cross-entropy of a target."""
    perplexity: float
    """exp(nats_per_token)."""
    bits_per_byte: float
    """Bits of all targets over the bytes of text they stand for: comparable between tokenizers.
    Ends of documents cost bits and bring no bytes."""
    bits_per_byte_error: float
    """Standard error of `bits_per_byte` over the choice of validation rows (0 for a single row)."""
    bytes_per_token: float
    accuracy: float
    """Share of targets that the model ranks first."""
    mtp_accuracy: tuple[float, ...]
    """Share of targets that MTP depth k (the token 2 + k places ahead) ranks first."""
    mtp_acceptance: tuple[float, ...]
    """Share that depth k ranks first among the targets that the main model ranks first itself: how often greedy
    speculative decoding keeps the draft where the main model goes on as the text does (DeepSeek-V3, section 5.4.3)."""

    def plain(self) -> dict[str, Any]:
        """As plain data, one key per figure."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def measure(tally: Tally) -> Measures:
    """The figures of one domain.

    Raises ValueError if the loss is not finite.
    """
    nats, text_bytes = math.fsum(tally.row_nats), sum(tally.row_bytes)
    assert text_bytes, "a domain without text has no bits per byte"
    if not math.isfinite(nats):
        raise ValueError(f"the loss is {nats}; the weights are damaged or the training diverged")
    return Measures(
        nats_per_token=nats / tally.targets,
        perplexity=_perplexity(nats / tally.targets),
        bits_per_byte=nats / math.log(2) / text_bytes,
        bits_per_byte_error=ratio_error(tally.row_nats, tally.row_bytes) / math.log(2),
        bytes_per_token=text_bytes / tally.targets,
        accuracy=tally.correct / tally.targets,
        mtp_accuracy=_shares(tally.mtp_correct, tally.mtp_targets),
        mtp_acceptance=_shares(tally.mtp_accepted, tally.mtp_offered),
    )


def mix(domains: Mapping[str, Measures], weights: Mapping[str, float]) -> Measures:
    """The figures of the training mixture: domains weighed by their share of the tokens (shares are normalised).

    Bits per byte are the expected bits over the expected bytes of a token drawn from the mixture.
    Raises ValueError if no domain has a weight.
    """
    shares = _normalized(domains, weights)

    def mean(figure: str) -> float:
        return math.fsum(shares[name] * getattr(domains[name], figure) for name in domains)

    nats, text_bytes = mean("nats_per_token"), mean("bytes_per_token")
    errors = [shares[n] * m.bits_per_byte_error * m.bytes_per_token / text_bytes for n, m in domains.items()]
    return Measures(
        nats_per_token=nats,
        perplexity=_perplexity(nats),
        bits_per_byte=nats / math.log(2) / text_bytes,
        bits_per_byte_error=math.hypot(*errors),
        bytes_per_token=text_bytes,
        accuracy=mean("accuracy"),
        mtp_accuracy=_mean_tuple([m.mtp_accuracy for m in domains.values()], list(shares.values())),
        mtp_acceptance=_mean_tuple([m.mtp_acceptance for m in domains.values()], list(shares.values())),
    )


def mix_bits_per_byte(
    bits_per_byte: Mapping[str, float], domains: Mapping[str, Measures], weights: Mapping[str, float]
) -> float:
    """Another coder's bits per byte on the mixture, from those of the domains: weighed as `mix` weighs the model's."""
    text_bytes = {n: share * domains[n].bytes_per_token for n, share in _normalized(domains, weights).items()}
    return math.fsum(bits_per_byte[name] * part for name, part in text_bytes.items()) / math.fsum(text_bytes.values())


def ratio_error(tops: Sequence[float], bottoms: Sequence[float]) -> float:
    """Standard error of sum(tops) / sum(bottoms) over the choice of rows (Cochran 1977, section 6.4)."""
    top, bottom = np.asarray(tops, dtype=np.float64), np.asarray(bottoms, dtype=np.float64)
    rows = len(top)
    if rows < 2:
        return 0.0
    deviations = top - top.sum() / bottom.sum() * bottom
    return float(np.sqrt(rows / (rows - 1) * np.square(deviations).sum()) / bottom.sum())


def _normalized(domains: Iterable[str], weights: Mapping[str, float]) -> dict[str, float]:
    wanted = {name: weights.get(name, 0.0) for name in domains}
    total = math.fsum(wanted.values())
    if not total > 0:
        raise ValueError(f"none of the domains {sorted(wanted)} has a weight in the mixture {dict(weights)}")
    return {name: weight / total for name, weight in wanted.items()}


def _perplexity(nats_per_token: float) -> float:
    return math.exp(min(nats_per_token, 700.0))  # exp(710) overflows; a model this lost needs no digits


def _shares(parts: Sequence[int], wholes: Sequence[int]) -> tuple[float, ...]:
    return tuple(part / whole if whole else 0.0 for part, whole in zip(parts, wholes, strict=True))


def _mean_tuple(values: Sequence[tuple[float, ...]], shares: Sequence[float]) -> tuple[float, ...]:
    return tuple(math.fsum(s * v for s, v in zip(shares, depth, strict=True)) for depth in zip(*values, strict=True))
