"""ROC curves from samples with scores: the curve, its area, and DeLong's interval and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from cmbnet.evaluation.stats.intervals import TAILS, Interval, no_interval


@dataclass(frozen=True, slots=True)
class Curve:
    """The points of a curve by falling threshold."""

    x: NDArray[np.float64]  # Abscissa of each point
    y: NDArray[np.float64]  # Ordinate of each point
    # Threshold of each point. A sample with score >= threshold is positive. The first threshold is
    # +inf.
    threshold: NDArray[np.float64]


def roc_curve(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> Curve:
    """Compute false-positive and true-positive rate at every distinct score.

    Classes are bool, scores finite, and high for positive. Return the curve from (0, 0) to (1, 1).
    If a class is absent, its axis is NaN.

    Examples:
        >>> curve = roc_curve(np.array([True, False, True]), np.array([0.9, 0.8, 0.8]))
        >>> curve.x.tolist(), curve.y.tolist()
        ([0.0, 0.0, 1.0], [0.0, 0.5, 1.0])
    """
    threshold, tp, fp = cumulative(positive, score)
    with np.errstate(invalid="ignore"):
        return Curve(fp / fp[-1:], tp / tp[-1:], threshold)


def cumulative(
    positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return +inf and the distinct falling scores, with the positives and negatives above each."""
    positive, score = np.asarray(positive, bool), np.asarray(score, float)
    if positive.shape != score.shape or not np.all(np.isfinite(score)):
        raise ValueError("one finite score per sample is required")
    values, inverse = np.unique(-score, return_inverse=True)
    tp = np.cumsum(np.bincount(inverse, weights=positive, minlength=len(values)))
    fp = np.cumsum(np.bincount(inverse, weights=~positive, minlength=len(values)))
    return (
        np.concatenate([[np.inf], -values]),
        np.concatenate([[0.0], tp]),
        np.concatenate([[0.0], fp]),
    )


def auc(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Compute the area under the ROC curve: P(positive scores higher) + P(equal) / 2.

    The area is NaN with one class.

    Examples:
        >>> auc(np.array([True, False, True, False]), np.array([0.9, 0.1, 0.5, 0.5]))
        0.875
    """
    positive = np.asarray(positive, bool)
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if not n_pos or not n_neg:
        return float("nan")
    ranks = _ranks(np.asarray(score, float))
    return float((ranks[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank from 1, with the mean rank for ties. scipy.stats would take a second to import."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: NDArray[np.float64] = (last - (count - 1) / 2)[inverse]
    return ranks


def _placements(
    positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of the other class that each positive beats, and that beats each negative.

    Sun and Xu's ranks: IEEE Signal Process Lett 2014, doi:10.1109/LSP.2014.2337313.
    """
    pos, neg = score[positive], score[~positive]
    every = _ranks(np.concatenate([pos, neg]))
    above = (every[: len(pos)] - _ranks(pos)) / len(neg)
    below = 1 - (every[len(pos) :] - _ranks(neg)) / len(pos)
    return above, below


def _variance(values: NDArray[Any]) -> float:
    return float(np.var(values, ddof=1) / len(values)) if len(values) > 1 else float("nan")


def delong_interval(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> Interval:
    """Compute DeLong's interval of an AUC, cut at 0 and 1.

    Samples must be independent. The interval is right for patients, and too narrow for lesions of
    the same patient. For these, `cmbnet.evaluation.stats.bootstrap` resamples patients.

    References:
        DeLong et al., Biometrics 1988, doi:10.2307/2531595.
    """
    area = auc(positive, score)
    positive = np.asarray(positive, bool)
    if np.isnan(area) or min(positive.sum(), (~positive).sum()) < 2:
        return no_interval("DeLong")
    above, below = _placements(positive, np.asarray(score, float))
    half = ndtri(TAILS[1]) * np.sqrt(_variance(above) + _variance(below))
    low, high = float(area - half), float(area + half)
    return Interval(max(0.0, low), min(1.0, high), "DeLong")


def delong_p(
    positive: NDArray[np.bool_], first: NDArray[np.float64], second: NDArray[np.float64]
) -> float:
    """Compute the two-sided P that two scores of the same samples have the same AUC.

    It is 1 if the two rank every pair alike, and NaN if it is undefined.
    """
    positive = np.asarray(positive, bool)
    if min(positive.sum(), (~positive).sum()) < 2:
        return float("nan")
    above_1, below_1 = _placements(positive, np.asarray(first, float))
    above_2, below_2 = _placements(positive, np.asarray(second, float))
    variance = _variance(above_1 - above_2) + _variance(below_1 - below_2)
    difference = auc(positive, first) - auc(positive, second)
    if variance == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * ndtr(-abs(difference) / np.sqrt(variance)))
