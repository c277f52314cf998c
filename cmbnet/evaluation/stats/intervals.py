"""Confidence intervals of a proportion, and from bootstrap values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval. Its ends are NaN if there is none.

    Args:
        low: Lower end.
        high: Upper end.
        level: Confidence level, such as 0.95.
        method: Method that made the interval.
    """

    low: float
    high: float
    level: float
    method: str


def wilson(successes: float, total: float, level: float = 0.95) -> Interval:
    """Compute Wilson's score interval of a proportion of independent things.

    References:
        Wilson, J Am Stat Assoc 1927, doi:10.1080/01621459.1927.10502953.

    Examples:
        >>> interval = wilson(10, 94)  # the paper's false-positive rate
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.059, 0.185)
    """
    if total == 0:
        return Interval(float("nan"), float("nan"), level, "Wilson")
    z = float(ndtri(0.5 + level / 2))
    share, scale = successes / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * float(np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)))
    # The ends are 0 and 1 exactly where they should be, not 1e-17 beyond.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return Interval(low, high, level, "Wilson")


def percentile(values: NDArray[np.float64], level: float = 0.95) -> Interval:
    """Compute the interval between quantiles of bootstrap values. Undefined values are left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"), level, "percentile")
    low, high = np.quantile(known, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high), level, "percentile")


def bca(
    point: float,
    values: NDArray[np.float64],
    jackknife: NDArray[np.float64],
    level: float = 0.95,
) -> Interval:
    """Compute the bias-corrected and accelerated bootstrap interval.

    If all values lie on one side of the point, or the jackknife does not vary, it takes the
    `percentile` interval and says so.

    Args:
        point: Value of the whole sample.
        values: Bootstrap values. NaN is left out.
        jackknife: Value without each patient in turn. NaN is left out.
        level: Confidence level.

    References:
        Efron, J Am Stat Assoc 1987, doi:10.1080/01621459.1987.10478410.
    """
    known, left_out = values[~np.isnan(values)], jackknife[~np.isnan(jackknife)]
    if not len(known) or np.isnan(point):
        return percentile(known[:0], level)
    below = (np.sum(known < point) + 0.5 * np.sum(known == point)) / len(known)
    deviation = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    spread = np.sum(deviation**2) ** 1.5
    if not 0 < below < 1 or spread == 0:
        return percentile(known, level)
    bias, acceleration = ndtri(below), np.sum(deviation**3) / (6 * spread)
    z = bias + ndtri([0.5 - level / 2, 0.5 + level / 2])
    if np.any(acceleration * z >= 1):
        return percentile(known, level)
    low, high = np.quantile(known, ndtr(bias + z / (1 - acceleration * z)))
    return Interval(float(low), float(high), level, "BCa")
