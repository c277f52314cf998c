"""Whether scores mean what they say, and whether acting on them is worth it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.stats.froc import Samples
from cmbnet.evaluation.stats.ratios import ratio

BINS = 10
THRESHOLDS = np.arange(1, 100) / 100
"""Threshold probabilities of a decision curve."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scores of samples against the share of them that is positive."""

    name: str  # Key of the samples, as in `cmbnet.evaluation.cohort.analysis.AREAS`
    brier: float  # Mean square of score - class
    brier_of_prevalence: float  # The same if every score were the share of positives
    mean_score: NDArray[np.float64]  # Mean score of each of `BINS` equal bins that has samples
    share: NDArray[np.float64]  # Share of positives in it
    samples: NDArray[np.int64]  # Number of samples in it


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision curve: net benefit, in true positives per patient, of acting on a score."""

    threshold: NDArray[np.float64]  # Probability from which on one would act
    model: NDArray[np.float64]  # Net benefit of acting on scores of the threshold or more
    every: NDArray[np.float64]  # Net benefit of acting on every patient


def calibration(name: str, samples: Samples) -> Calibration:
    """Compare scores from 0 to 1 with what they should predict.

    References:
        Brier, Mon Weather Rev 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    bins = np.minimum((samples.score * BINS).astype(int), BINS - 1)
    total = np.bincount(bins, minlength=BINS)
    score = np.bincount(bins, samples.score, BINS)
    positive = np.bincount(bins, samples.positive, BINS)
    used, prevalence = total > 0, float(samples.positive.mean())
    return Calibration(
        name=name,
        brier=float(np.mean((samples.score - samples.positive) ** 2)),
        brier_of_prevalence=prevalence * (1 - prevalence),
        mean_score=score[used] / total[used],
        share=positive[used] / total[used],
        samples=total[used],
    )


def decision_curve(samples: Samples) -> Decision:
    """Compute TP / n - FP / n times the odds of each threshold.

    References:
        Vickers, Elkin, Med Decis Making 2006, doi:10.1177/0272989X06295361.
    """
    odds = ratio(THRESHOLDS, 1 - THRESHOLDS)
    acted = samples.score >= THRESHOLDS[:, np.newaxis]
    right, wrong = (acted & samples.positive).mean(axis=1), (acted & ~samples.positive).mean(axis=1)
    prevalence = samples.positive.mean()
    return Decision(THRESHOLDS, right - wrong * odds, prevalence - (1 - prevalence) * odds)
