"""Fitting the score of candidates, `cmbnet.lesions.evidence`, on a validation cohort.

Ridge-penalised logistic regression by Newton's method (iteratively reweighted least squares;
Hastie, Tibshirani and Friedman 2009, The Elements of Statistical Learning, section 4.4.1) on
standardised features. Thresholds are chosen by scores of models that have not seen the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.lesions import Lesion
from cmbnet.lesions.evidence import FEATURES, Evidence, features
from cmbnet.training.candidates import Candidates

FOLDS = 5
RIDGE = 1.0
"""Penalty on the squared weights of the standardised features; the intercept is free."""

STEPS = 50
TOLERANCE = 1e-8

FEWEST = 30
"""Correct and false candidates, each, from which a score is fitted: three for each weight."""


@dataclass(frozen=True, slots=True)
class LearnedScore:
    """A score and its stand-ins for choosing thresholds.

    Args:
        evidence: Fitted on all scans: what a bundle gets.
        held_out: For each scan, fitted on the scans of the other folds.
    """

    evidence: Evidence
    held_out: tuple[Evidence, ...]


def learn_score(
    scans: Sequence[Candidates], further: Sequence[Candidates] = ()
) -> LearnedScore | None:
    """Fit the score on a cohort's candidates at one pixel threshold.

    A fold is a run of neighbouring scans, so that the scans of a phantom's head, or of a patient
    whose scans follow each other, stay together.

    Args:
        scans: From `cmbnet.training.candidates.offers_of`.
        further: Other scans that every fold learns from, too, such as those of other protocols.

    Returns:
        None where a fold would have fewer than `FEWEST` correct or false candidates to learn from.
    """
    fold = np.arange(len(scans)) * FOLDS // max(len(scans), 1)
    held_out: dict[int, Evidence] = {}
    for one in range(FOLDS):
        others = [scan for scan, own in zip(scans, fold, strict=True) if own != one]
        fitted = _fit([*others, *further])
        if fitted is None:
            return None
        held_out[one] = fitted
    whole = _fit([*scans, *further])
    return None if whole is None else LearnedScore(whole, tuple(held_out[n] for n in fold.tolist()))


def _fit(scans: Sequence[Candidates]) -> Evidence | None:
    """The score of the candidates that count; None where there are too few."""
    lesions, correct = [], []
    for scan in scans:
        for lesion, right, ignored in zip(scan.lesions, scan.correct, scan.ignored, strict=True):
            if not ignored:
                lesions.append(lesion)
                correct.append(bool(right))
    if min(sum(correct), len(correct) - sum(correct)) < FEWEST:
        return None
    return fit_evidence(lesions, np.array(correct))


def fit_evidence(lesions: Sequence[Lesion], correct: NDArray[np.bool_]) -> Evidence:
    """Fit the weights.

    Args:
        lesions: Candidates.
        correct: Bool, one for each; both kinds occur.
    """
    table = np.array([list(features(lesion).values()) for lesion in lesions])
    mean, spread = table.mean(axis=0), table.std(axis=0)
    spread[spread == 0.0] = 1.0
    weights = _newton((table - mean) / spread, correct.astype(float))
    raw = weights[1:] / spread
    named = dict(zip(FEATURES, raw.tolist(), strict=True))
    return Evidence(intercept=float(weights[0] - raw @ mean), **named)


def _newton(standardised: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intercept and weights of the ridge-penalised logistic regression."""
    design = np.column_stack([np.ones(len(standardised)), standardised])
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    weights = np.zeros(design.shape[1])
    for _ in range(STEPS):
        probability = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30.0, 30.0)))
        certainty = probability * (1.0 - probability) + 1e-9
        hessian = design.T @ (design * certainty[:, np.newaxis]) + penalty
        step = np.linalg.solve(hessian, design.T @ (target - probability) - penalty @ weights)
        weights += step
        if np.abs(step).max() < TOLERANCE:
            break
    return weights
