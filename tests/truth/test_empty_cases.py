"""Every row of the table of empty cases, computed through the public way in."""

from __future__ import annotations

from collections.abc import Callable
from math import nan

import numpy as np
import pytest

from cmbnet.evaluation import Case, CohortScores, evaluate_cohort
from cmbnet.evaluation.stats.columns import group_by_patient
from cmbnet.evaluation.stats.counts import bland_altman, intraclass_correlation
from cmbnet.evaluation.stats.froc import (
    froc_curve,
    froc_score,
    lesion_average_precision,
    lesion_scores_of,
    patient_samples,
)
from cmbnet.evaluation.stats.kappa import cohen_kappa, fleiss_kappa
from cmbnet.evaluation.stats.roc import auc
from cmbnet.volume import Volume


def cohort(truth: bool, predicted: bool, *, brain: bool = True) -> CohortScores:
    """One case with or without a lesion on either side; the lesions do not touch."""
    volumes = []
    for present, place in ((truth, 0), (predicted, 4)):
        data = np.zeros((1, 1, 6))
        data[0, 0, place] = present
        volumes.append(Volume(data, np.eye(4)))
    everywhere = Volume(np.full((1, 1, 6), int(brain)), np.eye(4))
    probability = Volume(np.where(volumes[1].data > 0, 0.9, 0.1), np.eye(4))
    case = Case("a", volumes[0], volumes[1], brain=everywhere, probability=probability)
    return evaluate_cohort([case])


def both(name: str, truth: bool, predicted: bool) -> Callable[[], float]:
    """The metric pooled and per patient, which must agree for one patient."""

    def compute() -> float:
        m = cohort(truth, predicted).metrics
        value = m[name]
        mean = m.get(f"patient_mean_{name}", value)
        assert value == mean or (np.isnan(value) and np.isnan(mean))
        return value

    return compute


def ap(truth: bool) -> float:
    scores = lesion_scores_of(cohort(truth, False).cases)
    assert scores is not None
    return lesion_average_precision(scores)


def froc(truth: bool) -> float:
    scores = lesion_scores_of(cohort(truth, not truth).cases)
    assert scores is not None
    return froc_score(froc_curve(scores))


def one_class() -> float:
    samples = patient_samples(cohort(True, True).cases)
    assert samples is not None
    return auc(samples.positive, samples.score)


def all_in_one() -> float:
    fleiss = fleiss_kappa(np.array([[7.0, 0.0], [7.0, 0.0]])).value
    cohen = cohen_kappa(np.array([[9.0, 0.0], [0.0, 0.0]])).value
    assert np.isnan(fleiss)
    return cohen


EMPTY_CASES: list[tuple[str, str, float, str, Callable[[], float]]] = [
    ("dice", "no truth, no prediction", nan, "0/0; 1 would let controls lift it",
     both("dice", False, False)),
    ("dice", "no truth, prediction", 0.0, "everything predicted is wrong",
     both("dice", False, True)),
    ("dice", "truth, no prediction", 0.0, "everything true is missed",
     both("dice", True, False)),
    ("precision", "no prediction", nan, "nothing was claimed, right or wrong",
     both("precision", True, False)),
    ("precision", "prediction, no truth", 0.0, "every claim is wrong",
     both("precision", False, True)),
    ("recall", "no truth", nan, "there was nothing to find",
     both("recall", False, True)),
    ("recall", "truth, no prediction", 0.0, "everything is missed",
     both("recall", True, False)),
    ("f1", "no truth, no prediction", nan, "neither precision nor recall exists",
     both("lesion_f1", False, False)),
    ("f1", "no truth, prediction", 0.0, "precision is 0",
     both("lesion_f1", False, True)),
    ("f1", "truth, no prediction", 0.0, "recall is 0",
     both("lesion_f1", True, False)),
    ("volume error, mm3", "no truth, no prediction", 0.0, "both volumes are 0",
     both("volume_error_mm3", False, False)),
    ("volume error, share", "no truth", nan, "no volume to relate it to",
     both("volume_share", False, True)),
    ("fp per scan", "no false lesion", 0.0, "a count; defined for every cohort",
     both("fp_per_scan", True, False)),
    ("patient fpr", "no controls", nan, "nobody could be a false positive",
     both("patient_fpr", True, True)),
    ("patient fnr", "no patients with lesions", nan, "nobody could be missed",
     both("patient_fnr", False, True)),
    ("patient tpr", "no patients with lesions", nan, "nobody could be found",
     both("patient_tpr", False, True)),
    ("auc", "one class only", nan, "no pair of a positive and a negative",
     one_class),
    ("froc", "no truth", nan, "sensitivity has no denominator",
     lambda: froc(False)),
    ("froc", "truth, no prediction", 0.0, "no threshold finds anything",
     lambda: froc(True)),
    ("average precision", "no truth", nan, "recall has no denominator",
     lambda: ap(False)),
    ("average precision", "truth, no prediction", 0.0, "recall never rises",
     lambda: ap(True)),
    ("kappa", "all ratings in one category", nan, "chance agreement is 1: 0/0",
     all_in_one),
    ("icc", "fewer than two cases", nan, "no variance between cases",
     lambda: intraclass_correlation(np.array([[1.0, 2]])).value),
    ("icc", "no variance at all", nan, "0/0",
     lambda: intraclass_correlation(np.ones((3, 2))).value),
    ("bland-altman limits", "one case", nan, "no standard deviation",
     lambda: bland_altman(
        np.array([1.0]), np.array([2.0])
    ).limits[0][0]),
]  # fmt: skip
"""Metric, what is missing, the value and its reason, and how to compute it."""


@pytest.mark.parametrize(
    ("value", "why", "compute"),
    [row[2:] for row in EMPTY_CASES],
    ids=[f"{row[0]}: {row[1]}" for row in EMPTY_CASES],
)
def test_row(value: float, why: str, compute: Callable[[], float]) -> None:
    assert compute() == pytest.approx(value, abs=0, nan_ok=True), why


def test_the_lesion_metrics_follow_the_same_rows() -> None:
    nothing, false, missed = (cohort(*s).metrics for s in ((0, 0), (0, 1), (1, 0)))  # type: ignore[arg-type]
    assert np.isnan(nothing["lesion_precision"])
    assert np.isnan(nothing["lesion_recall"])
    assert (false["lesion_precision"], missed["lesion_recall"]) == (0.0, 0.0)
    assert np.isnan(false["lesion_recall"])
    assert np.isnan(missed["lesion_precision"])


def test_undefined_patients_leave_the_mean() -> None:
    scores = cohort(False, False)
    assert scores.counts["has_dice"] == 0
    assert len(group_by_patient(scores.cases)) == 1
