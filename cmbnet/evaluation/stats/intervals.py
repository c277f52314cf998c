"""Confidence intervals of a proportion, and from bootstrap values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

LEVEL = 0.95
"""Confidence level of every interval."""
TAILS = (0.5 - LEVEL / 2, 0.5 + LEVEL / 2)
"""Probabilities at the two ends of an interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval. Its ends are NaN if there is none."""

    low: float
    high: float
    level: float = field(default=LEVEL, init=False)
    method: str  # Method that made the interval


def no_interval(method: str) -> Interval:
    """Return the interval of a value that has none."""
    return Interval(float("nan"), float("nan"), method)


def wilson(successes: float, total: float) -> Interval:
    """Compute Wilson's score interval of a proportion of independent things.

    References:
        Wilson, J Am Stat Assoc 1927, doi:10.1080/01621459.1927.10502953.

    Examples:
        >>> interval = wilson(10, 94)  # the paper's false-positive rate
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.059, 0.185)
    """
    if total == 0:
        return no_interval("Wilson")
    z = float(ndtri(TAILS[1]))
    share, scale = successes / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * float(np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)))
    # The ends are 0 and 1 exactly where they should be, not 1e-17 beyond.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return Interval(low, high, "Wilson")


def percentile(values: NDArray[np.float64]) -> Interval:
    """Compute the interval between quantiles of bootstrap values. Undefined values are left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return no_interval("percentile")
    low, high = np.quantile(known, TAILS)
    return Interval(float(low), float(high), "percentile")


def bca(point: float, values: NDArray[np.float64], jackknife: NDArray[np.float64]) -> Interval:
    """Compute the bias-corrected and accelerated bootstrap interval.

    If all values lie on one side of the point, or the jackknife does not vary, it takes the
    `percentile` interval and says so.
    `point` is the value of the whole sample, `values` are those of resamples, `jackknife` those
    without each patient in turn. NaN is left out.

    References:
        Efron, J Am Stat Assoc 1987, doi:10.1080/01621459.1987.10478410.
    """
    known, left_out = values[~np.isnan(values)], jackknife[~np.isnan(jackknife)]
    if not len(known) or np.isnan(point):
        return percentile(known[:0])
    below = (np.sum(known < point) + 0.5 * np.sum(known == point)) / len(known)
    deviation = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = np.sum(deviation**2) ** 1.5
    if not 0 < below < 1 or spread == 0:
        return percentile(known)
    bias, acceleration = ndtri(below), np.sum(deviation**3) / (6 * spread)
    z = bias + ndtri(TAILS)
    if np.any(acceleration * z >= 1):
        return percentile(known)
    low, high = np.quantile(known, ndtr(bias + z / (1 - acceleration * z)))
    return Interval(float(low), float(high), "BCa")
