"""Pixel-level curves from probabilities. Only a histogram of each class stays in memory.

Voxels are sorted into bins of equal width, and voxels of one bin count as tied. If the
probabilities have fewer levels than there are bins (8-bit maps have 256), this is exact. Otherwise
the error of the area is at most `area_error`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.stats.ratios import ratio
from cmbnet.evaluation.stats.roc import Curve


@dataclass(frozen=True, slots=True)
class ProbabilityHistogram:
    """Counts of voxels of each class by probability."""

    positives: NDArray[np.int64]  # Voxels of true lesions, int64 (bins,)
    negatives: NDArray[np.int64]  # Other voxels, int64 (bins,)

    def __add__(self, other: ProbabilityHistogram) -> ProbabilityHistogram:
        return ProbabilityHistogram(
            self.positives + other.positives, self.negatives + other.negatives
        )

    @property
    def bin_width(self) -> float:
        """Width of a bin. Bin k holds probabilities in [k, k + 1) widths, the last also 1."""
        return 1 / len(self.positives)


def probability_histogram(
    probability: NDArray[Any],
    positives: NDArray[np.int64],
    *,
    bins: int,
    brain: NDArray[np.bool_] | None = None,
    ignore: NDArray[np.bool_] | None = None,
) -> ProbabilityHistogram:
    """Count the voxels of a case by probability, from 0 to 1, and by class.

    `positives` are the flat indices of the counted voxels of true lesions. Voxels outside `brain`
    or inside `ignore` are left out.
    """
    every = np.zeros(bins, np.int64)
    for z in range(len(probability)):  # slice by slice: a whole scan of int64 would be 85 MB
        inside = np.ones(probability.shape[1:], bool) if brain is None else brain[z]
        if ignore is not None:
            inside = inside & ~ignore[z]
        every += np.bincount(_bin(probability[z][inside], bins), minlength=bins)
    own = np.bincount(_bin(probability.ravel()[positives], bins), minlength=bins)
    return ProbabilityHistogram(own, every - own)


def _bin(probability: NDArray[Any], bins: int) -> NDArray[np.int64]:
    """Return the bin of each probability. 1 falls into the last."""
    return np.minimum((probability * bins).astype(np.int64), bins - 1)


def pixel_roc(histogram: ProbabilityHistogram) -> Curve:
    """Compute the ROC of the voxels, from (0, 0) to (1, 1)."""
    tp, fp = _from_the_top(histogram.positives), _from_the_top(histogram.negatives)
    return Curve(ratio(fp, fp[-1]), ratio(tp, tp[-1]), _thresholds(histogram))


def pixel_pr(histogram: ProbabilityHistogram) -> Curve:
    """Compute recall (x) and precision (y) of the voxels. Without predictions, precision is NaN."""
    tp, fp = _from_the_top(histogram.positives), _from_the_top(histogram.negatives)
    return Curve(ratio(tp, tp[-1]), ratio(tp, tp + fp), _thresholds(histogram))


def pixel_auc(histogram: ProbabilityHistogram) -> float:
    """Compute the area under the pixel ROC. It is NaN with one class."""
    curve = pixel_roc(histogram)
    return float(np.sum(np.diff(curve.x) * (curve.y[1:] + curve.y[:-1])) / 2)


def area_error(histogram: ProbabilityHistogram) -> float:
    """Bound the difference of `pixel_auc` from the area without bins: half the pairs in one bin."""
    pairs = float(histogram.positives.sum()) * float(histogram.negatives.sum())
    tied = float(np.sum(histogram.positives.astype(float) * histogram.negatives))
    return float(ratio(tied / 2, pairs))


def average_precision(curve: Curve) -> float:
    """Sum the gain in recall times the precision there, over a recall-precision curve.

    The result is NaN if recall is undefined.
    """
    if np.isnan(curve.x).any():
        return float("nan")
    return float(np.sum(np.diff(curve.x) * np.nan_to_num(curve.y[1:], nan=0.0)))


def _from_the_top(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(counts[::-1])])


def _thresholds(histogram: ProbabilityHistogram) -> NDArray[np.float64]:
    bins = len(histogram.positives)
    return np.concatenate([[np.inf], np.arange(bins - 1, -1, -1) / bins])
