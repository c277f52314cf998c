"""Bootstrap, bands and comparisons: reproducible, and right where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from cmbnet.evaluation import Case, CohortScores, evaluate_cohort
from cmbnet.evaluation.cohort.analysis import Plan, analyse
from cmbnet.evaluation.cohort.compare import compare, mcnemar, permutation_p
from cmbnet.evaluation.stats.bands import curve_band, froc_events
from cmbnet.evaluation.stats.bootstrap import draw_weights, resample
from cmbnet.evaluation.stats.froc import FP_PER_SCAN
from cmbnet.evaluation.stats.intervals import bca, percentile
from tests.helpers.simulate import Errors, simulate_prediction

from .cohort import truth_of


def cohort(errors: Errors, n: int = 30, seed: int = 0) -> CohortScores:
    def cases() -> list[Case]:
        result = []
        for index in range(n):
            truth = truth_of(index)
            simulated = simulate_prediction(truth, errors, seed + index)
            result.append(Case(f"c{index:03}", truth, simulated.labels, simulated.probability))
        return result

    return evaluate_cohort(cases())


@pytest.fixture(scope="module")
def good() -> CohortScores:
    return cohort(Errors(0.1, 0.3))


@pytest.fixture(scope="module")
def poor() -> CohortScores:
    return cohort(Errors(0.5, 2.0), seed=500)


def test_every_resample_draws_as_many_patients_as_there_are() -> None:
    weights = np.concatenate(list(draw_weights(7, 2500, 1)))
    assert weights.shape == (2500, 7)
    assert np.all(weights.sum(axis=1) == 7)
    # Each patient is drawn once on average, with variance 1 - 1/n.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(weights.var(axis=0), 6 / 7, atol=0.1)


def test_resamples_are_cohorts_of_whole_patients(good: CohortScores) -> None:
    """A resample by hand: score the drawn patients again."""
    weights = next(draw_weights(30, 1, 9))[0].astype(int)
    expected = good.columns.values.repeat(weights, axis=0).sum(axis=0)
    found = resample(good.columns, resamples=1, seed=9)
    at = {name: expected[i] for i, name in enumerate(good.columns.names)}
    recall = at["found"] / (at["found"] + at["missed"])
    assert found["lesion_recall"].values[0] == pytest.approx(recall)
    assert found["lesion_recall"].point == good.metrics["lesion_recall"]
    dropped = good.columns.values[1:].sum(axis=0)
    at = {name: dropped[i] for i, name in enumerate(good.columns.names)}
    recall = at["found"] / (at["found"] + at["missed"])
    assert found["lesion_recall"].jackknife[0] == pytest.approx(recall)


def test_the_same_seed_gives_the_same_interval(good: CohortScores) -> None:
    first, second, other = (
        resample(good.columns, resamples=500, seed=seed)["dice"].interval() for seed in (1, 1, 2)
    )
    assert first == second != other


def test_bca_falls_back_to_percentile_and_says_so() -> None:
    constant = np.full(100, 0.5)
    assert bca(0.5, constant, constant).method == "percentile"
    assert bca(0.0, np.linspace(0.1, 1, 50), np.linspace(0, 1, 10)).method == "percentile"
    assert np.isnan(bca(float("nan"), constant, constant).low)


def test_percentile_leaves_undefined_resamples_out() -> None:
    interval = percentile(np.array([np.nan, *np.linspace(0, 1, 101)]))
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))


def test_areas_and_curves_have_bands(good: CohortScores) -> None:
    analysis = analyse(good, Plan(resamples=300, band_resamples=200, fewest=1))
    assert {area.name for area in analysis.areas} == {
        "lesion_auc", "candidate_auc", "patient_auc"
    }  # fmt: skip
    for area in analysis.areas:
        assert area.bootstrap.low <= area.value <= area.bootstrap.high
        assert np.all(area.band.low <= area.band.high)
    assert analysis.froc is not None
    at = analysis.froc.at
    assert np.all(at.low <= np.array(analysis.froc.sensitivities) + 1e-12)
    assert np.all(np.diff(at.low) >= 0)
    assert np.all(np.diff(at.high) >= 0)


def test_a_band_of_one_patient_is_the_curve() -> None:
    scores = cohort(Errors(0.3, 2.0), n=2).cases[1:]
    events = froc_events(scores, [scores[0].patient])
    band = curve_band(events, np.array(FP_PER_SCAN), resamples=5, seed=0)
    np.testing.assert_array_equal(band.low, band.high)


def test_a_model_against_itself(good: CohortScores) -> None:
    comparison = compare(good, good, resamples=200)
    assert all(d.difference == 0 and d.p == 1 for d in comparison.differences if d.p == d.p)
    assert [(t.only_first, t.only_second, t.p) for t in comparison.tests] == [(0, 0, 1)] * 2
    assert comparison.patient_auc_p == 1


def test_a_worse_model_is_seen(good: CohortScores, poor: CohortScores) -> None:
    comparison = compare(good, poor, resamples=1000)
    by_name = {d.name: d for d in comparison.differences}
    for name, sign in (("lesion_recall", 1), ("fp_per_scan", -1), ("dice", 1)):
        one = by_name[name]
        assert one.difference * sign > 0
        assert one.interval.low <= one.difference <= one.interval.high
        assert one.interval.low * one.interval.high > 0
        assert one.p < 0.05
    found = next(test for test in comparison.tests if test.what == "true lesions found")
    assert found.only_first > found.only_second
    mirrored = {d.name: d for d in compare(poor, good, resamples=1000).differences}
    assert mirrored["dice"].difference == -by_name["dice"].difference


def test_permutation_p_of_one_patient_is_one(good: CohortScores, poor: CohortScores) -> None:
    """With one patient a swap gives the same absolute difference."""
    from dataclasses import replace

    first, second = (
        replace(s.columns, patients=("a",), values=s.columns.values[1:2]) for s in (good, poor)
    )
    p = permutation_p(first, second, permutations=100, seed=0)
    assert p["fp_per_scan"] == 1


@pytest.mark.parametrize(("first", "second", "p"), [(5, 0, 0.0625), (1, 1, 1.0), (0, 0, 1.0)])
def test_mcnemar_is_exact(first: int, second: int, p: float) -> None:
    a = np.array([True] * first + [False] * second, bool)
    assert mcnemar(a, ~a, "x").p == pytest.approx(p)
