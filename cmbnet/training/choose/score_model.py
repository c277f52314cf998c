"""Fit the score of candidates, `cmbnet.lesions.score_model`, on labelled scans.

A few candidates are enough for a ridge-penalised logistic regression on their own features. Many
candidates, as in a training cohort, fit networks of one hidden layer, which also look at the
surroundings; their mean is the score. Thresholds are chosen by scores of models that have not seen
the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.lesions import Lesion
from cmbnet.lesions.score_model import FEATURES, FURTHEST, OWN, ScoreModel, features
from cmbnet.training.choose.candidates import ScanCandidates

FOLDS = 5
RIDGE = 1.0
"""Penalty on the squared weights of the standardised features; the intercept is free."""

FEWEST = 30
"""Smallest number of correct and of false candidates for a score: three for each weight."""

NETWORK_FROM = 600
"""Smallest number of correct and of false candidates for networks. Each network then has one and a
half weights per candidate; the penalty leaves far fewer free."""

HIDDEN = 16
PENALTY = 10.0
"""Weight of half the sum of squared weights in the loss. Of .3 to 30, and 8 to 32 hidden units,
these were best in cross-validation on candidates of training phantoms."""

MEMBERS = 5
"""Number of networks with different first weights. Where candidates are rare they disagree, and the
mean of their log odds is nearer to the truth than a single network."""

NETWORK_STEPS = 1000

LEAST_SPREAD = 1e-4
"""A standard deviation below this share of (1 + |mean|) is rounding."""


@dataclass(frozen=True, slots=True)
class LearnedScore:
    """A learned score, and the scores by which thresholds are chosen."""

    evidence: ScoreModel  # The score for the bundle
    held_out: tuple[ScoreModel, ...]  # For each scan, a score that has not seen it


def learn_score(
    scans: Sequence[ScanCandidates], training_scans: Sequence[ScanCandidates] = ()
) -> LearnedScore | None:
    """Fit the score on candidates at one pixel threshold.

    Args:
        scans: Candidates of the scans on which thresholds are chosen, from `find_candidates`.
        training_scans: Other scans, from which the score is learned instead. Without any it is
            learned from `scans` in folds. A fold is a run of neighbouring scans, so that the scans
            of a phantom's head, or of a patient whose scans follow each other, stay together.

    Returns:
        None if there are fewer than `FEWEST` correct or false candidates, also in a fold.
    """
    if training_scans:
        lesions, correct = _counted(training_scans)
        if _fewer(correct) < FEWEST:
            return None
        taught = _fit_for(_fewer(correct))(lesions, correct)
        return LearnedScore(taught, (taught,) * len(scans))
    fold = np.arange(len(scans)) * FOLDS // max(len(scans), 1)
    taught_by = [
        _counted([scan for scan, own in zip(scans, fold, strict=True) if own != one])
        for one in range(FOLDS)
    ]
    fewest = min(_fewer(correct) for _, correct in taught_by)
    if fewest < FEWEST:
        return None
    # One kind of score for all: thresholds are chosen by those of the folds.
    fit = _fit_for(fewest)
    held_out = [fit(lesions, correct) for lesions, correct in taught_by]
    return LearnedScore(fit(*_counted(scans)), tuple(held_out[n] for n in fold.tolist()))


def _counted(scans: Sequence[ScanCandidates]) -> tuple[list[Lesion], NDArray[np.bool_]]:
    """Return the candidates that count, and whether each is correct."""
    counted = [
        (lesion, bool(right))
        for scan in scans
        for lesion, right, ignored in zip(scan.lesions, scan.correct, scan.ignored, strict=True)
        if not ignored
    ]
    return [lesion for lesion, _ in counted], np.array([right for _, right in counted], bool)


def _fewer(correct: NDArray[np.bool_]) -> int:
    """Return the number of candidates of the rarer kind."""
    return int(min(correct.sum(), (~correct).sum()))


def _fit_for(fewer: int) -> Callable[[Sequence[Lesion], NDArray[np.bool_]], ScoreModel]:
    """Choose the kind of score by the number of candidates of the rarer kind."""
    return fit_network if fewer >= NETWORK_FROM else fit_logistic


def fit_logistic(lesions: Sequence[Lesion], correct: NDArray[np.bool_]) -> ScoreModel:
    """Fit a logistic regression on the candidates' own features.

    `correct` says which are right, bool. Both kinds must occur.
    """
    from sklearn.linear_model import LogisticRegression

    names = tuple(OWN)
    mean, spread, standardised = _standardised(lesions, names)
    model = LogisticRegression(C=1.0 / RIDGE, solver="newton-cholesky", tol=1e-10)
    model.fit(standardised, correct)
    output = (*model.coef_[0].tolist(), float(model.intercept_[0]))
    return ScoreModel(features=names, mean=mean, spread=spread, output=output)


def fit_network(lesions: Sequence[Lesion], correct: NDArray[np.bool_]) -> ScoreModel:
    """Fit networks on the candidates' own features and on their surroundings.

    `correct` says which are right, bool. Both kinds must occur.

    Returns:
        One network of all hidden units. Its log odds are the mean of those of the networks.
    """
    from sklearn.neural_network import MLPClassifier

    names = tuple(FEATURES)
    mean, spread, standardised = _standardised(lesions, names)
    hidden, output, last = [], [], 0.0
    for member in range(MEMBERS):
        model = MLPClassifier(
            (HIDDEN,),
            activation="tanh",
            solver="lbfgs",
            alpha=PENALTY,
            max_iter=NETWORK_STEPS,
            random_state=member,
        )
        model.fit(standardised, correct)
        (into, out), (bias, offset) = model.coefs_, model.intercepts_
        hidden.append(np.column_stack([into.T, bias]))
        output.append(out[:, 0] / MEMBERS)
        last += float(offset[0]) / MEMBERS
    return ScoreModel(
        features=names,
        mean=mean,
        spread=spread,
        hidden=tuple(map(tuple, _short(np.concatenate(hidden)))),
        output=tuple(_short(np.append(np.concatenate(output), last))),
    )


def _standardised(
    lesions: Sequence[Lesion], names: tuple[str, ...]
) -> tuple[tuple[float, ...], tuple[float, ...], NDArray[np.float64]]:
    """Return mean and standard deviation of each feature, and the standardised features."""
    table = np.array([features(lesion, names) for lesion in lesions])
    mean, spread = table.mean(axis=0), table.std(axis=0)
    # A feature that is equal in all, such as the pixel size of one scanner, must not count.
    spread[spread <= LEAST_SPREAD * (1 + np.abs(mean))] = 1.0
    mean, spread = np.array(_short(mean)), np.array(_short(spread))
    standardised = np.clip((table - mean) / spread, -FURTHEST, FURTHEST)
    return tuple(mean.tolist()), tuple(spread.tolist()), standardised


def _short(numbers: NDArray[np.float64]) -> list[Any]:
    """Round to six digits, because a manifest holds hundreds of these numbers."""
    rounded: list[Any] = np.vectorize(lambda number: float(f"{number:.6g}"))(numbers).tolist()
    return rounded
