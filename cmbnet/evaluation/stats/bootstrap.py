"""Bootstrap by patient. Resamples are rows of weights, and sums are a matrix product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.stats.columns import Columns
from cmbnet.evaluation.stats.intervals import Interval, bca
from cmbnet.evaluation.stats.metrics import METRICS
from cmbnet.evaluation.stats.ratios import ratio

CHUNK = 1000
"""Number of resamples at a time. 1,000 x 1,615 weights are 13 MB."""


@dataclass(frozen=True, slots=True)
class Resampled:
    """A statistic under resampling."""

    point: float  # Value of the whole sample
    values: NDArray[np.float64]  # Value of each bootstrap resample. NaN if it is undefined.
    jackknife: NDArray[np.float64]  # Value without each patient in turn

    def interval(self) -> Interval:
        """Compute the interval of the statistic."""
        return bca(self.point, self.values, self.jackknife)


@dataclass(frozen=True, slots=True)
class ClusteredAuc:
    """An AUC of samples that belong to patients, as sums over pairs of patients."""

    # Number of correctly ranked pairs of a positive of a patient of `with_positives` and a negative
    # of a patient of `with_negatives`, shape (p, q). Ties count one half.
    wins: NDArray[np.float32]
    with_positives: NDArray[np.int64]  # Rows of the p patients that have positives
    with_negatives: NDArray[np.int64]  # Rows of the q patients that have negatives
    positives: NDArray[np.float64]  # Number of positives of each patient, shape (n,)
    negatives: NDArray[np.float64]  # Number of negatives of each patient, shape (n,)

    @classmethod
    def of(
        cls,
        patient: NDArray[np.int64],
        positive: NDArray[np.bool_],
        score: NDArray[np.float64],
        n_patients: int,
    ) -> ClusteredAuc:
        """Build the AUC from samples. `patient` is the row of each sample's patient."""
        with_positives, row = np.unique(patient[positive], return_inverse=True)
        with_negatives, column = np.unique(patient[~positive], return_inverse=True)
        wins = np.zeros((len(with_positives), len(with_negatives)), np.float32)
        climb = np.argsort(score[~positive], kind="stable")
        for side in ("left", "right"):  # below, and at or below: the mean counts ties half
            reach = np.searchsorted(score[~positive][climb], score[positive], side=side)
            beaten, done = np.zeros(wins.shape[1], np.float32), 0
            for index in np.argsort(score[positive], kind="stable"):
                np.add.at(beaten, column[climb[done : reach[index]]], 0.5)
                done = int(reach[index])
                wins[row[index]] += beaten
        return cls(
            wins=wins,
            with_positives=with_positives,
            with_negatives=with_negatives,
            positives=np.bincount(patient[positive], minlength=n_patients).astype(float),
            negatives=np.bincount(patient[~positive], minlength=n_patients).astype(float),
        )

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the AUC of each row of patient weights (resamples, n); NaN with one class."""
        left = weights[:, self.with_positives].astype(np.float32) @ self.wins
        won = np.einsum("bi,bi->b", left, weights[:, self.with_negatives])
        pairs = (weights @ self.positives) * (weights @ self.negatives)
        return ratio(won, pairs)


def draw_weights(n: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield chunks of rows that say how often each of n patients was drawn. A row sums to n."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


def resample(
    columns: Columns,
    *,
    aucs: Mapping[str, ClusteredAuc] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Resampled]:
    """Bootstrap all headline metrics of a cohort, and areas by name, with the same resamples.

    The same seed and cohort give the same intervals.
    """
    aucs = aucs or {}
    total, n = columns.values.sum(axis=0), len(columns.patients)
    one, drop = np.ones((1, n)), 1 - np.eye(n)
    sums: list[NDArray[np.float64]] = []
    areas: dict[str, list[NDArray[np.float64]]] = {name: [] for name in aucs}
    for weights in draw_weights(n, resamples, seed):
        sums.append(weights @ columns.values)
        for name, area in aucs.items():
            areas[name].append(area(weights))
    whole, each = named(columns.names, np.concatenate(sums)), total - columns.values
    result = {
        metric.name: Resampled(
            float(metric.compute(named(columns.names, total))),
            metric.compute(whole),
            metric.compute(named(columns.names, each)),
        )
        for metric in METRICS
    }
    for name, area in aucs.items():
        result[name] = Resampled(float(area(one)[0]), np.concatenate(areas[name]), area(drop))
    return result


def named(names: Sequence[str], values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return sums (..., columns) by the name of their column."""
    return {name: values[..., index] for index, name in enumerate(names)}
