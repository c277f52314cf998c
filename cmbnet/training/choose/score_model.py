"""Fitting the score of candidates, `cmbnet.lesions.score_model`, on labelled scans.

From few candidates, a ridge-penalised logistic regression on what each is, by Newton's method
(iteratively reweighted least squares; Hastie, Tibshirani and Friedman 2009, The Elements of
Statistical Learning, section 4.4.1). From many, as a training cohort has them, networks of one
hidden layer that look at the surroundings, too, and their mean. Thresholds are chosen by scores of
models that have not seen the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.lesions import Lesion
from cmbnet.lesions.score_model import FEATURES, FURTHEST, OWN, ScoreModel, features
from cmbnet.training.choose.candidates import Candidates

FOLDS = 5
RIDGE = 1.0
"""Penalty on the squared weights of the standardised features; the intercept is free."""

STEPS = 50
TOLERANCE = 1e-8

FEWEST = 30
"""Correct and false candidates, each, from which a score is fitted: three for each weight."""

NETWORK_FROM = 600
"""Correct and false candidates, each, from which networks are fitted: one and a half weights of a
network for each, of which the penalty leaves far fewer free."""

HIDDEN = 16
PENALTY = 10.0
"""Half of it times the sum of squared weights is added to the sum of losses. Of .3 to 30, and 8 to
32 hidden units, the best by cross-validation on candidates of training phantoms."""

MEMBERS = 5
"""Networks that differ in their first weights. What one of them makes up where candidates are
rare, the others do not: the mean of their log odds is nearer to the truth than one of them."""

NETWORK_STEPS = 1000

LEAST_SPREAD = 1e-4
"""A standard deviation below this share of one and the mean is rounding."""


@dataclass(frozen=True, slots=True)
class LearnedScore:
    """A score and its stand-ins for choosing thresholds.

    Args:
        evidence: What a bundle gets.
        held_out: For each scan, a score that has not seen it.
    """

    evidence: ScoreModel
    held_out: tuple[ScoreModel, ...]


def learn_score(
    scans: Sequence[Candidates], teachers: Sequence[Candidates] = ()
) -> LearnedScore | None:
    """Fit the score on candidates at one pixel threshold.

    Args:
        scans: From `offers_of`: those that thresholds are chosen on.
        teachers: Other scans, which the score is learned from in their stead. Without any it is
            learned from `scans` in folds. A fold is a run of neighbouring scans, so that the scans
            of a phantom's head, or of a patient whose scans follow each other, stay together.

    Returns:
        None where there, or in a fold, are fewer than `FEWEST` correct or false candidates.
    """
    if teachers:
        lesions, correct = _counted(teachers)
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


def _counted(scans: Sequence[Candidates]) -> tuple[list[Lesion], NDArray[np.bool_]]:
    """The candidates that count, and which of them are correct."""
    counted = [
        (lesion, bool(right))
        for scan in scans
        for lesion, right, ignored in zip(scan.lesions, scan.correct, scan.ignored, strict=True)
        if not ignored
    ]
    return [lesion for lesion, _ in counted], np.array([right for _, right in counted], bool)


def _fewer(correct: NDArray[np.bool_]) -> int:
    """Candidates of the rarer kind."""
    return int(min(correct.sum(), (~correct).sum()))


def _fit_for(fewer: int) -> Callable[[Sequence[Lesion], NDArray[np.bool_]], ScoreModel]:
    """What is fitted to so many candidates of the rarer kind."""
    return fit_network if fewer >= NETWORK_FROM else fit_logistic


def fit_logistic(lesions: Sequence[Lesion], correct: NDArray[np.bool_]) -> ScoreModel:
    """Fit a logistic regression on what the candidates are.

    Args:
        lesions: Candidates.
        correct: Bool, one for each; both kinds occur.
    """
    names = tuple(OWN)
    mean, spread, standardised = _standardised(lesions, names)
    weights = _newton(standardised, correct.astype(float))
    output = (*weights[1:].tolist(), float(weights[0]))
    return ScoreModel(features=names, mean=mean, spread=spread, output=output)


def fit_network(lesions: Sequence[Lesion], correct: NDArray[np.bool_]) -> ScoreModel:
    """Fit networks on what the candidates are and what lies around them.

    Args:
        lesions: Candidates, all of them looked at with the scan.
        correct: Bool, one for each; both kinds occur.

    Returns:
        The mean of their log odds, as one network of all their hidden units.
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
    """Mean and standard deviation of each feature, and the table in units of them."""
    table = np.array([features(lesion, names) for lesion in lesions])
    mean, spread = table.mean(axis=0), table.std(axis=0)
    # What is alike in all, as the pixels of one scanner, tells nothing, and differs elsewhere.
    spread[spread <= LEAST_SPREAD * (1 + np.abs(mean))] = 1.0
    mean, spread = np.array(_short(mean)), np.array(_short(spread))
    standardised = np.clip((table - mean) / spread, -FURTHEST, FURTHEST)
    return tuple(mean.tolist()), tuple(spread.tolist()), standardised


def _short(numbers: NDArray[np.float64]) -> list[Any]:
    """As many digits as matter: hundreds of them stand in a manifest."""
    rounded: list[Any] = np.vectorize(lambda number: float(f"{number:.6g}"))(numbers).tolist()
    return rounded


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
