"""How many tokens each domain gives to a stage."""

import math
from collections.abc import Mapping

from pipeline.artifact.files import ArtifactError
from pipeline.settings.shards import Shortage


def token_shares(
    weights: Mapping[str, float], available: Mapping[str, int], total: int, max_epochs: float, on_shortage: Shortage
) -> dict[str, int]:
    """Share out `total` tokens among the domains by their weights, no domain beyond `max_epochs` times its text.

    `available` are the tokens that each domain has. What a domain cannot give is an error, or goes to the others in
    proportion to their weights. Raises ArtifactError if the tokens do not suffice.
    """
    caps = {domain: math.floor(max_epochs * available[domain]) for domain in weights}
    shares = _apportion(weights, total)
    short = [domain for domain in sorted(weights) if shares[domain] > caps[domain]]
    if short and (on_shortage == "error" or sum(caps.values()) < total):
        raise ArtifactError(_shortage(short, shares, available, total, max_epochs, sum(caps.values())))
    full: dict[str, int] = {}
    while short:
        full |= {domain: caps[domain] for domain in short}
        rest = {domain: weight for domain, weight in weights.items() if domain not in full}
        shares = full | _apportion(rest, total - sum(full.values()))
        short = [domain for domain in sorted(rest) if shares[domain] > caps[domain]]
    return shares


def _apportion(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers in proportion to the weights whose sum is exactly `total` (largest remainders)."""
    norm = math.fsum(weights.values())
    exact = {domain: total * (weight / norm) for domain, weight in weights.items()}
    shares = {domain: math.floor(share) for domain, share in exact.items()}
    by_remainder = sorted(exact, key=lambda domain: (shares[domain] - exact[domain], domain))
    missing = total - sum(shares.values())
    for number in range(abs(missing)):  # below zero only where the shares exceed 2**53
        shares[by_remainder[number % len(by_remainder)]] += 1 if missing > 0 else -1
    return shares


def _shortage(
    short: list[str], shares: Mapping[str, int], available: Mapping[str, int], total: int, max_epochs: float, most: int
) -> str:
    lines = [
        f"{domain}: {shares[domain]:,} tokens are asked, it has {available[domain]:,}"
        + (f" ({shares[domain] / available[domain]:.2f} epochs)" if available[domain] else "")
        for domain in short
    ]
    ways = ["add text", "lower these weights", "raise data.max_epochs", "train fewer tokens"]
    if most >= total:
        ways.append("set data.on_shortage to redistribute")
    return (
        f"the stage needs {total:,} tokens, data.max_epochs {max_epochs:g} allows {most:,}. Too short: "
        f"{'; '.join(lines)}. Ways on: {', '.join(ways)}"
    )
