"""Agreement of raters on categories: Cohen's kappa, weighted or not, and Fleiss' kappa."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from cmbnet.evaluation.stats.intervals import TAILS, Interval

KappaWeights = Literal["none", "linear", "quadratic"]
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Kappa:
    """A kappa with its analytic error. If it is undefined, everything is NaN."""

    value: float  # The kappa
    standard_error: float  # Standard error, for the interval
    p: float  # Two-sided P that there is no agreement beyond chance
    interval: Interval  # value -+ z standard errors, cut at -1 and 1


def disagreement(categories: int, weights: KappaWeights) -> NDArray[np.float64]:
    """Return the agreement weight of each pair of categories, from 0 to 1 on the diagonal."""
    away = np.abs(np.subtract.outer(np.arange(categories), np.arange(categories)))
    if weights == "none":
        return np.eye(categories)
    power = 1 if weights == "linear" else 2
    result: NDArray[np.float64] = 1 - (away / max(categories - 1, 1)) ** power
    return result


def kappa_value(table: NDArray[np.float64], weights: KappaWeights = "none") -> NDArray[np.float64]:
    """Compute Cohen's kappa of one or many tables. It is NaN if chance agreement is 1.

    Tables are (..., k, k), with the first rater along rows and the categories in order.

    Examples:
        >>> round(float(kappa_value(np.array([[20.0, 5.0], [10.0, 15.0]]))), 3)
        0.4
    """
    share = table / np.maximum(table.sum(axis=(-2, -1), keepdims=True), 1)
    weight = disagreement(table.shape[-1], weights)
    observed = np.sum(share * weight, axis=(-2, -1))
    rows, columns = share.sum(axis=-1), share.sum(axis=-2)
    chance = np.einsum("...i,ij,...j->...", rows, weight, columns)
    defined = (chance < 1 - 1e-12) & (table.sum(axis=(-2, -1)) > 0)
    top, bottom = np.asarray(observed - chance), np.asarray(1 - chance)
    kappa: NDArray[np.float64] = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=kappa, where=defined)
    return kappa


def cohen_kappa(table: NDArray[np.float64], weights: KappaWeights = "none") -> Kappa:
    """Compute Cohen's kappa with the standard error of Fleiss, Cohen and Everitt.

    The table is (k, k), with the first rater along rows.

    References:
        Cohen, Educ Psychol Meas 1960, doi:10.1177/001316446002000104; Fleiss, Cohen, Everitt,
        Psychol Bull 1969, doi:10.1037/h0028106.
    """
    value = float(kappa_value(table, weights))
    if np.isnan(value):
        return _kappa(value, NAN, NAN)
    total, weight = table.sum(), disagreement(len(table), weights)
    share = table / total
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    chance = float(rows @ weight @ columns)
    mean = (weight @ columns)[:, np.newaxis] + (rows @ weight)[np.newaxis]
    spread = np.sum(share * (weight - mean * (1 - value)) ** 2)
    variance = (spread - (value - chance * (1 - value)) ** 2) / (total * (1 - chance) ** 2)
    independent = np.outer(rows, columns)
    null = (np.sum(independent * (weight - mean) ** 2) - chance**2) / (total * (1 - chance) ** 2)
    return _kappa(value, _root(float(variance)), _root(float(null)))


def fleiss_kappa(counts: NDArray[np.float64]) -> Kappa:
    """Compute the agreement of several raters on categories without order (Fleiss' kappa).

    The counts of raters are (subjects, categories). All rows sum to the same number, at least 2.

    Raises:
        ValueError: If the rows have different sums.

    References:
        Fleiss, Psychol Bull 1971, doi:10.1037/h0031619; standard error of Fleiss, Nee, Landis,
        Psychol Bull 1979, doi:10.1037/0033-2909.86.5.974 (for the hypothesis of no agreement,
        here used for the interval too, as SPSS does).
    """
    raters = counts.sum(axis=1)
    if len(set(raters.tolist())) != 1 or raters[0] < 2:
        raise ValueError("every subject must be rated by the same number of raters, at least 2")
    n, m = len(counts), float(raters[0])
    share = counts.sum(axis=0) / (n * m)
    agreement = (np.sum(counts**2, axis=1) - m) / (m * (m - 1))
    chance = float(np.sum(share**2))
    if chance >= 1 - 1e-12:
        return _kappa(NAN, NAN, NAN)
    value = float((agreement.mean() - chance) / (1 - chance))
    spread = share * (1 - share)
    inner = spread.sum() ** 2 - np.sum(spread * (1 - 2 * share))
    error = np.sqrt(2) / (spread.sum() * np.sqrt(n * m * (m - 1))) * _root(float(inner))
    return _kappa(value, float(error), float(error))


def confusion(first: ArrayLike, second: ArrayLike, categories: int) -> NDArray[np.float64]:
    """Count the pairs of two raters' categories, from 0 to categories - 1.

    Examples:
        >>> confusion([0, 1, 1], [0, 1, 0], 2).tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """
    table = np.zeros((categories, categories))
    np.add.at(table, (np.asarray(first, int), np.asarray(second, int)), 1)
    return table


def _kappa(value: float, error: float, null_error: float) -> Kappa:
    z = float(ndtri(TAILS[1]))
    p = 2 * float(ndtr(-abs(value) / null_error)) if null_error > 0 else NAN
    low, high = max(-1.0, value - z * error), min(1.0, value + z * error)
    if np.isnan(error):
        low = high = NAN
    return Kappa(value, error, p, Interval(low, high, "analytic"))


def _root(variance: float) -> float:
    """Return the square root of a variance that rounding may have pushed below 0."""
    return float(np.sqrt(max(variance, 0.0)))
