"""Comparison of two ways of reading, with readers and cases as random samples (MRMC)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from cmbnet.evaluation.stats.intervals import TAILS, Interval, no_interval

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Mrmc:
    """The difference of the mean figure of merit between two arms."""

    difference: float  # Mean over the readers of the second arm - that of the first
    interval: Interval  # Its 95 % interval for the population of readers and cases
    f: float  # F statistic of Obuchowski and Rockette
    df: float  # Denominator degrees of freedom of Hillis
    p: float  # Two-sided P


UNDEFINED = Mrmc(NAN, no_interval("Obuchowski-Rockette"), NAN, NAN, NAN)


def obuchowski_rockette(merit: NDArray[np.float64], covariance: NDArray[np.float64]) -> Mrmc:
    """Compare two arms that all readers read, on the same cases.

    Args:
        merit: Figure of merit, shape (2, readers).
        covariance: Covariance of the figures over the cases, shape (2, readers, 2, readers).

    Returns:
        The comparison. It is NaN with one reader or an undefined figure. Without any variance,
        only the difference is known.

    References:
        Obuchowski, Rockette, Comm Stat Simul Comput 1995, doi:10.1080/03610919508813243; degrees of
        freedom of Hillis, Stat Med 2007, doi:10.1002/sim.2532.
    """
    arms, readers = merit.shape
    if readers < 2 or not (np.isfinite(merit).all() and np.isfinite(covariance).all()):
        return UNDEFINED
    of_arm, of_reader = merit.mean(axis=1, keepdims=True), merit.mean(axis=0, keepdims=True)
    by_arm = readers * np.sum((of_arm - merit.mean()) ** 2) / (arms - 1)
    rest = np.sum((merit - of_arm - of_reader + merit.mean()) ** 2)
    by_both = rest / ((arms - 1) * (readers - 1))
    others = ~np.eye(readers, dtype=bool)
    same_arm = np.mean([covariance[arm, :, arm][others].mean() for arm in range(arms)])
    other_arm = (covariance[0, :, 1][others].mean() + covariance[1, :, 0][others].mean()) / 2
    error = by_both + max(readers * float(same_arm - other_arm), 0.0)
    difference = float(of_arm[1, 0] - of_arm[0, 0])
    if error <= 0:
        return replace(UNDEFINED, difference=difference)
    df = float("inf") if by_both == 0 else error**2 * (arms - 1) * (readers - 1) / by_both**2
    f = by_arm / error
    half = float(t_distribution.ppf(TAILS[1], df) * np.sqrt(2 * error / readers))
    interval = Interval(difference - half, difference + half, "Obuchowski-Rockette")
    return Mrmc(difference, interval, float(f), float(df), float(f_distribution.sf(f, 1, df)))


def jackknife_covariance(without: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the covariance of figures from their values without each case.

    Figures are (cases, 2, readers), the covariance is (2, readers, 2, readers).
    """
    n, (arms, readers) = len(without), without.shape[1:]
    centred = (without - without.mean(axis=0)).reshape(n, -1)
    covariance: NDArray[np.float64] = (n - 1) / n * centred.T @ centred
    return covariance.reshape(arms, readers, arms, readers)
