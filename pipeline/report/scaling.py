"""Power laws of loss: fit, and predict with an interval. Pure numpy, seeded.

The law is L(x) = floor + scale * x^-exponent, of compute over stages or of tokens within one. It is fitted by variable
projection: for a given exponent the rest is linear, so a search over one number finds the best of all three. Residuals
are relative, which for small ones is the residual of log L that Hoffmann et al. (arXiv 2203.15556, appendix D.2) fit.
"""

from dataclasses import dataclass

import numpy as np

PARAMETERS = 3
EXPONENTS = (0.01, 3.0)
GRID = 41
ZOOMS = 6
RESAMPLES = 400
COVERAGE = 0.9


@dataclass(frozen=True)
class PowerLaw:
    """L(x) = floor + scale * (x / unit)^-exponent."""

    floor: float
    """The loss that no amount of x removes."""
    scale: float
    exponent: float
    unit: float
    """Geometric mean of the fitted x, which keeps `scale` of the size of a loss."""
    spread: float
    """Standard deviation of the relative residuals; 0 where as many points as parameters were fitted."""

    def at(self, x: np.ndarray | float) -> np.ndarray:
        """The loss at x."""
        return self.floor + self.scale * (np.asarray(x, dtype=np.float64) / self.unit) ** -self.exponent


@dataclass(frozen=True)
class Prediction:
    """What the law says about an x that was not fitted."""

    x: float
    loss: float
    low: float
    high: float
    """Between `low` and `high` the loss lies with probability `coverage`, if the law holds as far as x."""
    coverage: float


def fit(x: np.ndarray, loss: np.ndarray) -> PowerLaw:
    """Fit the law to at least three points with different x.

    Raises ValueError for fewer points, or for points that are not positive and finite.
    """
    _check(x, loss)
    unit = float(np.exp(np.log(x).mean()))
    floor, scale, exponent = _fit(np.log(x / unit), loss[None])
    law = PowerLaw(float(floor[0]), float(scale[0]), float(exponent[0]), unit, 0.0)
    freedom = len(x) - PARAMETERS
    squares = float(np.square(loss / law.at(x) - 1).sum())
    return PowerLaw(law.floor, law.scale, law.exponent, unit, (squares / freedom) ** 0.5 if freedom else 0.0)


def predict(law: PowerLaw, fitted_x: np.ndarray, x: float, noise: float = 0.0, seed: int = 0) -> Prediction:
    """Predict the loss at x by a parametric bootstrap of the fit at `fitted_x`.

    `noise` is the relative error of a measured loss as known otherwise; the larger of it and the residuals' spread
    is drawn.
    Raises ValueError where neither is known: then there is no interval to give.
    """
    spread = max(law.spread, noise)
    if not spread > 0:
        raise ValueError("an interval needs more than three points or a known error of the loss")
    random = np.random.default_rng(seed)
    drawn = law.at(fitted_x) * np.exp(spread * random.standard_normal((RESAMPLES, len(fitted_x))))
    floor, scale, exponent = _fit(np.log(fitted_x / law.unit), drawn)
    losses = floor + scale * np.exp(-exponent * np.log(x / law.unit))
    losses = losses * np.exp(
        spread * random.standard_normal(RESAMPLES)
    )  # the new point is measured with the same error
    low, high = np.quantile(losses, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    loss = float(law.at(x))
    return Prediction(x, loss, min(float(low), loss), max(float(high), loss), COVERAGE)


def _check(x: np.ndarray, loss: np.ndarray) -> None:
    if len(np.unique(x)) < PARAMETERS:
        raise ValueError(
            f"a power law has {PARAMETERS} parameters and needs as many different points, not {len(np.unique(x))}"
        )
    if not (np.isfinite(x).all() and np.isfinite(loss).all() and (x > 0).all() and (loss > 0).all()):
        raise ValueError("the points of a power law must be positive and finite")


def _fit(log_x: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit each row of `loss` [fits, points]: floor, scale and exponent, each [fits]."""
    low, high = np.full(len(loss), np.log(EXPONENTS[0])), np.full(len(loss), np.log(EXPONENTS[1]))
    steps = np.linspace(0.0, 1.0, GRID)
    for _ in range(ZOOMS):
        exponents = np.exp(low[:, None] + (high - low)[:, None] * steps)  # [fits, GRID]
        floor, scale, error = _project(log_x, loss, exponents)
        best = error.argmin(1)
        width = (high - low) / (GRID - 1)
        centre = low + width * best
        low, high = np.maximum(low, centre - width), np.minimum(high, centre + width)
    row = np.arange(len(loss))
    return floor[row, best], scale[row, best], exponents[row, best]


def _project(log_x: np.ndarray, loss: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best floor >= 0 and scale >= 0 for every exponent [fits, GRID], and the squared relative error."""
    power = np.exp(-exponents[:, :, None] * log_x)  # [fits, GRID, points]
    a, b = 1.0 / loss[:, None, :], power / loss[:, None, :]  # relative: floor * a + scale * b = 1
    aa, ab, bb, sa, sb = (a * a).sum(2), (a * b).sum(2), (b * b).sum(2), a.sum(2), b.sum(2)
    determinant = np.maximum(aa * bb - ab * ab, 1e-300)
    floor = (sa * bb - sb * ab) / determinant
    scale = (sb * aa - sa * ab) / determinant
    floor, scale = np.where(scale < 0, sa / aa, floor), np.maximum(scale, 0.0)
    scale, floor = np.where(floor < 0, sb / bb, scale), np.maximum(floor, 0.0)
    error = np.square(floor[:, :, None] * a + scale[:, :, None] * b - 1).sum(2)
    return floor, scale, error
