"""Agreement of counts: intraclass correlation, Bland-Altman limits, bands of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from cmbnet.evaluation.stats.columns import Columns
from cmbnet.evaluation.stats.intervals import TAILS, Interval, no_interval
from cmbnet.evaluation.stats.kappa import Kappa, cohen_kappa, confusion
from cmbnet.evaluation.stats.ratios import ratio

BANDS = ("0", "1", "2-4", "5-10", ">10")
"""Bands of lesions per patient."""
NAN = float("nan")


def band(count: float) -> int:
    """Return the index of the band of a count.

    Examples:
        >>> [BANDS[band(n)] for n in (0, 1, 2, 4, 5, 10, 11)]
        ['0', '1', '2-4', '2-4', '5-10', '5-10', '>10']
    """
    return int(np.searchsorted([0, 1, 4, 10], count, side="left"))


@dataclass(frozen=True, slots=True)
class Icc:
    """ICC(2,1): two-way random effects, absolute agreement, single rater."""

    value: float  # The correlation. NaN with fewer than two cases or without variance.
    interval: Interval  # Its interval by the F distribution


def intraclass_correlation(ratings: NDArray[np.float64]) -> Icc:
    """Compute ICC(2,1) of ratings (subjects, raters).

    References:
        Shrout, Fleiss, Psychol Bull 1979, doi:10.1037/0033-2909.86.2.420; interval of McGraw,
        Wong, Psychol Methods 1996, doi:10.1037/1082-989X.1.1.30.

    Examples:
        >>> table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9],
        ...          [6, 2, 4, 7]]
        >>> round(intraclass_correlation(np.array(table, float)).value, 2)  # published: .29
        0.29
    """
    n, k = ratings.shape
    undefined = Icc(NAN, no_interval("F"))
    if n < 2 or k < 2:
        return undefined
    mean = ratings.mean()
    rows = k * np.sum((ratings.mean(axis=1) - mean) ** 2) / (n - 1)
    columns = n * np.sum((ratings.mean(axis=0) - mean) ** 2) / (k - 1)
    total = np.sum((ratings - mean) ** 2)
    error = (total - rows * (n - 1) - columns * (k - 1)) / ((n - 1) * (k - 1))
    error = max(float(error), 0.0)
    bottom = rows + (k - 1) * error + k * (columns - error) / n
    if bottom <= 0:
        return undefined
    value = float((rows - error) / bottom)
    if value >= 1:  # no error at all, but for rounding
        return Icc(1.0, Interval(1.0, 1.0, "F"))
    return Icc(value, _icc_interval(float(rows), float(columns), error, (n, k), value))


def _icc_interval(
    rows: float, columns: float, error: float, size: tuple[int, int], value: float
) -> Interval:
    n, k = size
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    # NaN, and so the interval, where raters are exactly opposed and every case has the same mean.
    freedom = float(
        ratio(
            (a * columns + b * error) ** 2,
            (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1)),
        )
    )
    tail = TAILS[1]
    above = float(f_distribution.ppf(tail, n - 1, freedom))
    below = float(f_distribution.ppf(tail, freedom, n - 1))
    noise = k * columns + (k * n - k - n) * error
    low = n * (rows - above * error) / (above * noise + n * rows)
    high = n * (below * rows - error) / (noise + n * below * rows)
    return Interval(float(low), float(high), "F")


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """The differences of counts, predicted - true, of each patient."""

    mean: NDArray[np.float64]  # Mean of predicted and true count, one per patient
    difference: NDArray[np.float64]  # Predicted - true count
    bias: tuple[float, Interval]  # Mean difference, with its interval
    # bias -+ 1.96 standard deviations, each with its interval. NaN for one patient.
    limits: tuple[tuple[float, Interval], tuple[float, Interval]]


def bland_altman(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> BlandAltman:
    """Compare two counts of the same patients by the method of Bland and Altman.

    References:
        Bland, Altman, Lancet 1986, doi:10.1016/S0140-6736(86)90837-8.
    """
    difference, n = predicted - true, len(true)
    bias = float(difference.mean())
    deviation = float(difference.std(ddof=1)) if n > 1 else NAN
    t = float(t_distribution.ppf(TAILS[1], n - 1)) if n > 1 else NAN
    limit_error = deviation * np.sqrt(1 / n + 1.96**2 / (2 * (n - 1))) if n > 1 else NAN

    def around(value: float, error: float) -> tuple[float, Interval]:
        low, high = float(value - t * error), float(value + t * error)
        return value, Interval(low, high, "t")

    low, high = bias - 1.96 * deviation, bias + 1.96 * deviation
    return BlandAltman(
        mean=(predicted + true) / 2,
        difference=difference,
        bias=around(bias, deviation / float(np.sqrt(n))),
        limits=(around(low, limit_error), around(high, limit_error)),
    )


@dataclass(frozen=True, slots=True)
class CountAgreement:
    """The agreement of the number of lesions per patient."""

    icc: Icc  # Intraclass correlation of predicted and true counts
    bland_altman: BlandAltman  # Differences of the counts
    bands: NDArray[np.float64]  # Table (5, 5) of patients, with the true band along rows
    kappa: Kappa  # Kappa of the bands without weights
    kappa_linear: Kappa  # Kappa of the bands with linear weights
    kappa_quadratic: Kappa  # Kappa of the bands with quadratic weights
    kappa_presence: Kappa  # Kappa of no lesion against at least one


def count_agreement(columns: Columns) -> CountAgreement:
    """Compare predicted and true counts of a cohort."""
    true = columns.column("found") + columns.column("missed")
    return agreement_of_counts(true, columns.column("correct") + columns.column("false"))


def agreement_of_counts(
    true: NDArray[np.float64], predicted: NDArray[np.float64]
) -> CountAgreement:
    """Compare two counts of the same patients."""
    table = band_table(true.tolist(), predicted.tolist())
    presence = confusion(true > 0, predicted > 0, 2)
    return CountAgreement(
        icc=intraclass_correlation(np.stack([true, predicted], axis=1)),
        bland_altman=bland_altman(true, predicted),
        bands=table,
        kappa=cohen_kappa(table),
        kappa_linear=cohen_kappa(table, "linear"),
        kappa_quadratic=cohen_kappa(table, "quadratic"),
        kappa_presence=cohen_kappa(presence),
    )


def band_table(first: Sequence[float], second: Sequence[float]) -> NDArray[np.float64]:
    """Count patients by the bands of two counts, with the first along rows."""
    return confusion([band(n) for n in first], [band(n) for n in second], len(BANDS))
