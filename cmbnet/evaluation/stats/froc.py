"""FROC, average precision and the lesion-level ROC, from the scores of lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.match.score import ScoredCase
from cmbnet.evaluation.stats.columns import counted_truth, group_by_patient, scored_predicted
from cmbnet.evaluation.stats.curves import average_precision
from cmbnet.evaluation.stats.patients import NEVER, PatientScores
from cmbnet.evaluation.stats.ratios import ratio
from cmbnet.evaluation.stats.roc import Curve

FP_PER_SCAN = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which a FROC is read, as in LUNA16."""


@dataclass(frozen=True, slots=True)
class LesionScores:
    """Scores of the lesions of a cohort."""

    # Highest threshold at which each true lesion is found. NaN for a missed lesion.
    found_at: NDArray[np.float64]
    correct: NDArray[np.float64]  # Score of each correct predicted lesion or candidate
    false: NDArray[np.float64]  # Score of each false predicted lesion or candidate
    scans: int  # Number of scans


def lesion_scores_of(cases: Sequence[ScoredCase]) -> LesionScores | None:
    """Collect the scores of a cohort, or return None if predicted lesions lack scores."""
    if not all(case.has_scores for case in cases):
        return None
    predicted = scored_predicted(cases)
    return LesionScores(
        found_at=np.array([lesion.detection_score for lesion in counted_truth(cases)], float),
        correct=np.array([p.detection_score for p in predicted if p.verdict == "correct"], float),
        false=np.array([p.detection_score for p in predicted if p.verdict == "false"], float),
        scans=len(cases),
    )


def froc_curve(scores: LesionScores) -> Curve:
    """Compute false positives per scan (x) and sensitivity (y) at every distinct score.

    If the detector's candidates are known, the curve continues below the operating point. Without
    true lesions, sensitivity is NaN.
    """
    threshold = _thresholds(scores)
    found = _at_least(scores.found_at[~np.isnan(scores.found_at)], threshold)
    return Curve(
        _at_least(scores.false, threshold) / scores.scans,
        ratio(found, len(scores.found_at)),
        threshold,
    )


def sensitivity_at(curve: Curve, fp_per_scan: float) -> float:
    """Return the highest sensitivity with at most the given false positives per scan.

    Nothing is interpolated, because an operating point must exist. Beyond the last point of the
    curve, its sensitivity holds.
    """
    return float(np.max(curve.y[curve.x <= fp_per_scan]))


def froc_score(curve: Curve) -> float:
    """Compute the mean sensitivity at `FP_PER_SCAN` (the competition metric of LUNA16)."""
    return float(np.mean([sensitivity_at(curve, at) for at in FP_PER_SCAN]))


def precision_recall_curve(scores: LesionScores) -> Curve:
    """Compute recall (x) and precision (y) of lesions at every distinct score.

    Recall counts found true lesions, and precision counts correct predicted lesions. So the curve
    ends at the cohort's recall, not at 1.
    """
    threshold = _thresholds(scores)
    found = _at_least(scores.found_at[~np.isnan(scores.found_at)], threshold)
    correct, false = _at_least(scores.correct, threshold), _at_least(scores.false, threshold)
    return Curve(ratio(found, len(scores.found_at)), ratio(correct, correct + false), threshold)


def lesion_average_precision(scores: LesionScores) -> float:
    """Compute the average precision of the lesions. It is NaN without true lesions."""
    return average_precision(precision_recall_curve(scores))


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of a ROC curve."""

    patient: tuple[str, ...]  # Name of the patient of each sample
    positive: NDArray[np.bool_]  # Class of each sample
    score: NDArray[np.float64]  # Score of each sample


def lesion_samples(cases: Sequence[ScoredCase]) -> Samples | None:
    """Collect the samples of the paper's lesion-level ROC.

    Positives are all counted true lesions, found or missed, scored by the probabilities of their
    own voxels. Negatives are the false predicted lesions and candidates. They exist only above the
    pixel threshold, so the area depends on it and must not be compared with a FROC. The result is
    None if a score is unknown, because probability maps are needed.
    """
    samples = [(c.patient, True, t.score) for c in cases for t in counted_truth([c])]
    samples += [
        (c.patient, False, p.score)
        for c in cases
        for p in scored_predicted([c])
        if p.verdict == "false"
    ]
    return _samples(samples)


def candidate_samples(cases: Sequence[ScoredCase]) -> Samples | None:
    """Collect correct against false predicted lesions and candidates, without missed lesions."""
    samples = [
        (case.patient, verdict == "correct", one.detection_score)
        for verdict in ("correct", "false")
        for case in cases
        for one in scored_predicted([case])
        if one.verdict == verdict
    ]
    return _samples(samples)


def patient_samples(cases: Sequence[ScoredCase]) -> Samples | None:
    """Collect patients with against patients without true lesions.

    The score is the highest score of the patient's predicted lesions and candidates outside the
    ignore region, or 0 if there are none.
    """
    if not all(case.has_scores for case in cases):
        return None
    scores: dict[str, list[float]] = {}
    positive: dict[str, bool] = {}
    for case in cases:
        every = (*case.predicted, *case.candidates)
        own = [p.detection_score for p in every if p.verdict != "ignored"]
        scores.setdefault(case.patient, [0.0]).extend(own)
        has = bool(counted_truth([case]))
        positive[case.patient] = positive.get(case.patient, False) or has
    names = tuple(sorted(scores))
    return Samples(
        names,
        np.array([positive[name] for name in names], bool),
        np.array([max(scores[name]) for name in names], float),
    )


def patient_scores(cases: Sequence[ScoredCase]) -> PatientScores | None:
    """Find the threshold up to which each patient is found or alarmed; None without scores."""
    if not all(case.has_scores for case in cases):
        return None
    has, reach = [], []
    for scans in group_by_patient(cases).values():
        true = counted_truth(scans)
        found = [lesion.detection_score for lesion in true if not np.isnan(lesion.detection_score)]
        false = [p.detection_score for p in scored_predicted(scans) if p.verdict == "false"]
        has.append(bool(true))
        reach.append(max(found if true else false, default=NEVER))
    return PatientScores(np.array(has, bool), np.array(reach, float))


def _samples(rows: list[tuple[str, bool, float]]) -> Samples | None:
    score = np.array([row[2] for row in rows], float)
    if np.isnan(score).any():
        return None
    return Samples(tuple(row[0] for row in rows), np.array([r[1] for r in rows], bool), score)


def _thresholds(scores: LesionScores) -> NDArray[np.float64]:
    values = np.unique(np.concatenate([scores.correct, scores.false, scores.found_at]))
    return np.concatenate([[np.inf], values[~np.isnan(values)][::-1]])


def _at_least(scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count the scores that reach each threshold."""
    ordered = np.sort(scores)
    return (len(ordered) - np.searchsorted(ordered, thresholds, side="left")).astype(float)
