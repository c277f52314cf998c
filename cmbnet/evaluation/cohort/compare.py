"""The comparison of two models on the same cases: differences, intervals, P values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from cmbnet.errors import InputRefused
from cmbnet.evaluation.cohort.scores import CohortScores
from cmbnet.evaluation.match.score import ScoredLesion
from cmbnet.evaluation.stats.bootstrap import CHUNK, Resampled, named, resample
from cmbnet.evaluation.stats.columns import Columns
from cmbnet.evaluation.stats.froc import patient_samples
from cmbnet.evaluation.stats.intervals import Interval
from cmbnet.evaluation.stats.metrics import METRICS, Metric
from cmbnet.evaluation.stats.roc import delong_p


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of a metric between two models."""

    name: str  # The metric
    first: float  # Its value for the first model
    second: float  # Its value for the other
    difference: float  # first - second
    interval: Interval  # Interval of the difference. Both models share the resamples of patients.
    p: float  # Two-sided P of a permutation by patient. NaN if the difference is undefined.
    p_holm: float  # The same, corrected for the number of metrics (Holm)


@dataclass(frozen=True, slots=True)
class McNemar:
    """Exact McNemar test of paired verdicts."""

    what: str  # The things that were judged right or wrong
    only_first: int  # Right by the first model only
    only_second: int  # Right by the second only
    p: float  # Two-sided exact binomial P. It is 1 if the models never differ.


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same cases."""

    differences: tuple[Difference, ...]  # Differences of every headline metric
    tests: tuple[McNemar, ...]  # McNemar tests of patients and of true lesions
    patient_auc_p: float  # DeLong's P for the patient-level areas. NaN without scores.


def compare(
    first: CohortScores,
    second: CohortScores,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two models that were scored on the same cases in the same way.

    Raises:
        InputRefused: If cases, their true lesions, or the settings differ.
    """
    _require_the_same_reference(first, second)
    ours = resample(first.columns, resamples=resamples, seed=seed)
    theirs = resample(second.columns, resamples=resamples, seed=seed)
    p = permutation_p(first.columns, second.columns, permutations=resamples, seed=seed)
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    differences = []
    for one in METRICS:
        a, b = ours[one.name], theirs[one.name]
        paired = Resampled(a.point - b.point, a.values - b.values, a.jackknife - b.jackknife)
        differences.append(
            Difference(
                one.name,
                a.point,
                b.point,
                paired.point,
                paired.interval(),
                p[one.name],
                corrected[one.name],
            )
        )
    tests = (_patients(first, second), _lesions(first, second))
    return Comparison(tuple(differences), tests, _auc_p(first, second))


def holm(p: Sequence[float]) -> list[float]:
    """Correct P values for their number. NaN values do not count and stay NaN.

    References:
        Holm, Scand J Stat 1979, https://www.jstor.org/stable/4615733.

    Examples:
        >>> holm([0.01, 0.04, 0.03, 0.005])  # 2nd of 4: 3 * 0.01; 3rd: 2 * 0.03, and no less after
        [0.03, 0.06, 0.06, 0.02]
    """
    values = np.array(p, float)
    order = np.argsort(values)[: int(np.sum(~np.isnan(values)))]
    steps = values[order] * np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in values]


def permutation_p(
    first: Columns, second: Columns, *, permutations: int, seed: int
) -> dict[str, float]:
    """Compute P values of the differences of all headline metrics.

    Under the null hypothesis the models are exchangeable within a patient: each permutation
    swaps their counts for a random half of the patients. P = (1 + more extreme) / (1 + defined).
    """
    rng = np.random.default_rng(seed)
    gap = second.values - first.values
    total_first, total_second = first.values.sum(axis=0), second.values.sum(axis=0)
    moved = [
        rng.integers(0, 2, size=(min(CHUNK, permutations - start), len(gap))) @ gap
        for start in range(0, permutations, CHUNK)
    ]
    swapped = np.concatenate(moved)
    result = {}
    for one in METRICS:
        observed = float(_gap(one, first.names, total_first, total_second))
        under_null = _gap(one, first.names, total_first + swapped, total_second - swapped)
        known = under_null[~np.isnan(under_null)]
        extreme = np.sum(np.abs(known) >= abs(observed) * (1 - 1e-12))
        p = float("nan") if np.isnan(observed) else (1 + extreme) / (1 + len(known))
        result[one.name] = float(p)
    return result


def _gap(
    one: Metric, names: Sequence[str], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the difference of a metric between two (arrays of) sums."""
    return one.compute(named(names, first)) - one.compute(named(names, second))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_], what: str) -> McNemar:
    """Compute the exact McNemar test of two verdicts on the same things.

    Examples:
        >>> right = np.array([True] * 8 + [False] * 2)
        >>> mcnemar(right, ~right, "x").p  # 8 against 2
        0.109375
    """
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    differ = only_first + only_second
    p = float(binomtest(only_first, differ).pvalue) if differ else 1.0
    return McNemar(what, only_first, only_second, p)


def _require_the_same_reference(first: CohortScores, second: CohortScores) -> None:
    if first.settings != second.settings:
        raise InputRefused("two models can be compared only if they were scored in the same way")
    if [c.name for c in first.cases] != [c.name for c in second.cases]:
        raise InputRefused("two models can be compared only on the same cases")
    for a, b in zip(first.cases, second.cases, strict=True):
        if a.patient != b.patient or _reference(a.truth) != _reference(b.truth):
            raise InputRefused(f"case {a.name} has different references for the two models")


def _reference(lesions: Sequence[ScoredLesion]) -> list[tuple[int, int]]:
    return [(lesion.label, lesion.voxels) for lesion in lesions]


def _patients(first: CohortScores, second: CohortScores) -> McNemar:
    right = [
        s.columns.column("patient_tp") + s.columns.column("patient_tn") > 0 for s in (first, second)
    ]
    return mcnemar(right[0], right[1], "patients classified rightly")


def _lesions(first: CohortScores, second: CohortScores) -> McNemar:
    found = [
        np.array([t.verdict == "found" for c in s.cases for t in c.truth if t.verdict != "ignored"])
        for s in (first, second)
    ]
    return mcnemar(found[0].astype(bool), found[1].astype(bool), "true lesions found")


def _auc_p(first: CohortScores, second: CohortScores) -> float:
    a, b = patient_samples(first.cases), patient_samples(second.cases)
    if a is None or b is None:
        return float("nan")
    return delong_p(a.positive, a.score, b.score)
