"""Agreement, intervals and curves that can be worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from cmbnet.evaluation import Case, CohortScores, Settings, evaluate_cohort
from cmbnet.evaluation.cohort.compare import compare, permutation_p
from cmbnet.evaluation.readers.study import cochran_q
from cmbnet.evaluation.stats.bands import curve_band, froc_events, roc_events
from cmbnet.evaluation.stats.bootstrap import resample
from cmbnet.evaluation.stats.counts import agreement_of_counts, intraclass_correlation
from cmbnet.evaluation.stats.curves import (
    ProbabilityHistogram,
    area_error,
    pixel_roc,
    probability_histogram,
)
from cmbnet.evaluation.stats.froc import (
    FP_PER_SCAN,
    Samples,
    froc_curve,
    lesion_scores_of,
    sensitivity_at,
)
from cmbnet.evaluation.stats.intervals import bca, percentile
from cmbnet.evaluation.stats.kappa import fleiss_kappa, kappa_value
from cmbnet.evaluation.stats.roc import auc, delong_interval, delong_p, roc_curve
from cmbnet.lesions import spacing_affine
from cmbnet.volume import Volume


def row(text: str) -> Volume:
    data = np.array([[[0 if c == "." else int(c) for c in text]]], np.float32)
    return Volume(data, spacing_affine((2.0, 1.0, 1.0)))


def cohort(*rows: tuple[str, str]) -> CohortScores:
    return evaluate_cohort(Case(f"c{n}", row(t), row(p)) for n, (t, p) in enumerate(rows))


# ---- number of lesions: true 0, 1, 3, 12; predicted 0, 2, 3, 9 -------------------------------

TRUE, PREDICTED = np.array([0.0, 1, 3, 12]), np.array([0.0, 2, 3, 9])


def test_icc_by_hand() -> None:
    """Row means 0, 1.5, 3, 10.5 about 3.75: 43.5; columns 4, 3.5: 0.5; error (135.5 - 131) / 3."""
    icc = agreement_of_counts(TRUE, PREDICTED).icc
    assert icc.value == pytest.approx((43.5 - 1.5) / (43.5 + 1.5 + 2 * (0.5 - 1.5) / 4))
    assert icc.interval.low < icc.value < icc.interval.high < 1


def test_icc_of_equal_ratings_is_one_and_of_opposed_ones_below_minus_one() -> None:
    equal = intraclass_correlation(np.array([[0.1, 0.1], [0.3, 0.3], [0.7, 0.7]]))
    assert (equal.value, equal.interval.low, equal.interval.high) == (1, 1, 1)
    # Rows of equal mean: MS of rows and of columns 0, error 2; -2 / (2 - 2 * 2 / 3).
    opposed = intraclass_correlation(np.array([[0.0, 2], [2, 0], [1, 1]]))
    assert opposed.value == pytest.approx(-3)
    assert np.isnan(opposed.interval.low)  # 0/0 degrees of freedom
    nearly = intraclass_correlation(np.array([[0.0, 2], [2, 0], [1, 2]]))
    assert nearly.interval.low < nearly.value < nearly.interval.high < 1


def test_bland_altman_by_hand() -> None:
    """Differences 0, 1, 0, -3: mean -0.5, variance 9 / 3; t of 3 degrees of freedom 3.1824."""
    agreement, t, sd = agreement_of_counts(TRUE, PREDICTED).bland_altman, 3.182446305, math.sqrt(3)
    assert agreement.mean.tolist() == [0, 1.5, 3, 10.5]
    value, interval = agreement.bias
    assert (value, interval.low, interval.high) == pytest.approx(
        (-0.5, -0.5 - t * sd / 2, -0.5 + t * sd / 2)
    )
    half = t * sd * math.sqrt(1 / 4 + 1.96**2 / 6)
    for (limit, around), sign in zip(agreement.limits, (-1, 1), strict=True):
        middle = -0.5 + sign * 1.96 * sd
        assert (limit, around.low, around.high) == pytest.approx(
            (middle, middle - half, middle + half)
        )


def test_bland_altman_of_two_patients_has_limits() -> None:
    limits = agreement_of_counts(TRUE[:2], PREDICTED[:2]).bland_altman.limits
    assert limits[1][0] == pytest.approx(0.5 + 1.96 * math.sqrt(0.5))


def test_kappas_of_bands_by_hand() -> None:
    """Bands 0, 1, 2, 4 against 0, 2, 2, 3 of five.

    Plain: 2/4 agree, by chance (1 * 1 + 1 * 2) / 16. Linear: (1 + .75 + 1 + .75) / 4 against
    10 / 16. Quadratic: 31/32 against 101/128.
    """
    agreement = agreement_of_counts(TRUE, PREDICTED)
    assert agreement.kappa.value == pytest.approx(5 / 13)
    assert agreement.kappa_linear.value == pytest.approx(2 / 3)
    assert agreement.kappa_quadratic.value == pytest.approx(23 / 27)


# ---- kappa ------------------------------------------------------------------------------------


def test_kappa_of_one_rating_or_none_is_undefined() -> None:
    assert np.isnan(kappa_value(np.array([[1.0, 0.0], [0.0, 0.0]])))
    assert np.isnan(kappa_value(np.zeros((2, 2))))
    assert kappa_value(np.array([[1.0, 0.0], [0.0, 1.0]])) == 1


def test_fleiss_of_two_raters_by_hand() -> None:
    """Agree on 3 of 4; shares 5/8 and 3/8. With two categories the error is sqrt(2 / 8)."""
    kappa = fleiss_kappa(np.array([[2.0, 0], [0, 2], [1, 1], [2, 0]]))
    assert kappa.value == pytest.approx((3 / 4 - 34 / 64) / (30 / 64))
    assert kappa.standard_error == pytest.approx(0.5)
    assert kappa.p == pytest.approx(2 * ndtr(-2 * 7 / 15))
    assert kappa.interval.low == pytest.approx(7 / 15 - 1.959964 / 2)
    assert kappa.interval.high == 1  # cut


def test_fleiss_of_three_categories_by_hand() -> None:
    """Equal shares, n = m = 3: the error is 1 / sqrt(n m (m - 1))."""
    kappa = fleiss_kappa(3 * np.eye(3))
    assert kappa.value == pytest.approx(1)
    assert kappa.standard_error == pytest.approx(1 / math.sqrt(18))


@pytest.mark.parametrize("counts", [[[2, 0], [1, 0]], [[1, 0], [0, 1]]])
def test_fleiss_needs_the_same_number_of_raters_and_two(counts: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        fleiss_kappa(np.array(counts, float))


def test_cochran_without_disagreement_is_one_and_without_a_second_reader_undefined() -> None:
    assert cochran_q(np.array([[True, True], [False, False]])) == 1
    assert np.isnan(cochran_q(np.array([[True], [False]])))


# ---- intervals --------------------------------------------------------------------------------


def test_ties_with_the_point_count_half_in_bca() -> None:
    """3 below, 4 equal, 3 above: no bias; a symmetric jackknife: no acceleration."""
    values = np.array([0.4] * 3 + [0.5] * 4 + [0.6] * 3)
    interval = bca(0.5, values, np.array([0.45, 0.5, 0.55]))
    assert interval.method == "BCa"
    expected = percentile(values)
    assert (interval.low, interval.high) == (expected.low, expected.high)


def test_the_level_is_95_percent() -> None:
    values = np.linspace(0, 1, 1001)
    for interval in (percentile(values), bca(0.5, values, np.array([0.4, 0.5, 0.6]))):
        ends = (interval.low, interval.high, interval.level)
        assert ends == pytest.approx((0.025, 0.975, 0.95))
    # DeLong, from the shares that each sample beats; the normal quantile at 0.975 is 1.959964.
    positive, score = np.arange(20) % 2 > 0, np.arange(20.0) % 7
    area, interval = auc(positive, score), delong_interval(positive, score)
    above = [np.mean((s > score[~positive]) + (s == score[~positive]) / 2) for s in score[positive]]
    below = [np.mean((s < score[positive]) + (s == score[positive]) / 2) for s in score[~positive]]
    error = np.sqrt(np.var(above, ddof=1) / 10 + np.var(below, ddof=1) / 10)
    assert interval.high - area == pytest.approx(1.959964 * error)


def test_delong_of_perfect_and_reversed_ranks() -> None:
    positive = np.array([True, True, False, False])
    score = np.array([4.0, 3.0, 2.0, 1.0])
    assert delong_p(positive, score, -score) == 0  # areas 1 and 0, both without variance
    assert delong_p(positive, score, 2 * score) == 1
    assert np.isnan(delong_p(positive[1:], score[1:], score[1:]))  # one positive
    assert delong_interval(positive, score).high == 1


def test_the_method_is_bca() -> None:
    columns = cohort(("11.", "11."), ("11.", "..."), ("11.", "1.."), ("11.1", "11.1")).columns
    assert resample(columns, resamples=400)["lesion_recall"].interval().method == "BCa"


# ---- two models -------------------------------------------------------------------------------


def test_permutation_p_is_the_share_of_swaps_at_least_as_extreme() -> None:
    """3, 1, 1 false lesions against none: of 8 swaps, 2 give 5 or -5."""
    first = cohort((".....", "1.1.1"), (".....", "1...."), (".....", "....1"))
    second = cohort(*[(".....", ".....")] * 3)
    p = permutation_p(first.columns, second.columns, permutations=20_000, seed=3)
    assert p["fp_per_scan"] == pytest.approx(0.25, abs=0.015)
    assert np.isnan(p["lesion_recall"])  # no true lesion
    few = permutation_p(first.columns, second.columns, permutations=3, seed=0)["fp_per_scan"]
    assert few in [(1 + extreme) / 4 for extreme in range(4)]


def test_mcnemar_counts_patients_and_lesions() -> None:
    """First right: c0 found, c1 control clean. Second right: c1, and c2 of two lesions one."""
    first = cohort(("11...", "11..."), (".....", "....."), ("11.11", "....."))
    second = cohort(("11...", "....."), (".....", "....."), ("11.11", "11..."))
    comparison = compare(first, second, resamples=100)
    patients, lesions = comparison.tests
    assert (patients.what, patients.only_first, patients.only_second) == (
        "patients classified rightly", 1, 1
    )  # fmt: skip
    assert (lesions.what, lesions.only_first, lesions.only_second) == ("true lesions found", 1, 1)
    assert np.isnan(comparison.patient_auc_p)  # no scores
    # 5 of 5 against 7 of 7 predicted voxels: nothing between; recall 2/6 of both.
    recall = next(d for d in comparison.differences if d.name == "recall")
    assert (recall.first, recall.second, recall.difference) == (2 / 6, 2 / 6, 0)


def test_lesions_that_are_left_out_have_no_part_in_mcnemar() -> None:
    ignore = row("11...")
    cases = [Case("a", row("11.11"), row("11.11"), ignore=ignore)]
    other = [Case("a", row("11.11"), row("....."), ignore=ignore)]
    comparison = compare(evaluate_cohort(cases), evaluate_cohort(other), resamples=100)
    assert comparison.tests[1].only_first == 1


# ---- curves -----------------------------------------------------------------------------------


def scored(probability: NDArray[np.float64]) -> CohortScores:
    """True lesions found at .9 and .6; false ones of .8 and .5."""
    case = Case("a", row("11.11......"), row("11.11.11.11"),
                Volume(probability, row(".").affine))  # fmt: skip
    return evaluate_cohort([case])


def test_the_band_of_one_patient_is_the_curve() -> None:
    scores = scored(np.array([[[0.9, 0.9, 0, 0.6, 0.6, 0, 0.8, 0.8, 0, 0.5, 0.5]]]))
    lesions = lesion_scores_of(scores.cases)
    assert lesions is not None
    at = np.array([0.0, 0.5, 1.0, 2.0, 8.0])
    expected = [sensitivity_at(froc_curve(lesions), x) for x in at]
    assert expected == [0.5, 0.5, 1, 1, 1]
    band = curve_band(froc_events(scores.cases, ["a"]), at, resamples=3, seed=0)
    assert band.low.tolist() == band.high.tolist() == expected
    positive, score = np.array([True, True, False, False]), np.array([0.9, 0.5, 0.7, 0.5])
    curve, x = roc_curve(positive, score), np.array([0.0, 0.5, 0.9, 1.0])
    roc = curve_band(
        roc_events(Samples(("a",) * 4, positive, score), ["a"]), x, resamples=2, seed=0
    )
    assert roc.low.tolist() == [float(curve.y[curve.x <= one].max()) for one in x]
    assert roc.low.tolist() == [0.5, 0.5, 0.5, 1.0]


def test_the_band_of_two_patients_spans_their_curves() -> None:
    """Patient b is perfect, a never: a resample is a's, b's or both halves."""
    positive, score = np.array([True, False] * 2), np.array([0.1, 0.9, 0.9, 0.1])
    events = roc_events(Samples(("a", "a", "b", "b"), positive, score), ["a", "b"])
    band = curve_band(events, np.array([0.0, 1.0]), resamples=400, seed=1)
    assert (band.low[0], band.high[0]) == (0, 1)
    assert (band.low[1], band.high[1]) == (1, 1)


def test_the_froc_is_read_where_luna16_reads_it() -> None:
    assert FP_PER_SCAN == (0.125, 0.25, 0.5, 1, 2, 4, 8)


def test_voxels_are_counted_in_the_brain_and_outside_the_ignore_region() -> None:
    """Of .0 .3 .6 .9 the second and the last count; the last is true."""
    brain, ignore = np.array([[[0, 1, 1, 1]]], bool), np.array([[[0, 0, 1, 0]]], bool)
    probability = np.array([[[0.0, 0.3, 0.6, 0.9]]])
    histogram = probability_histogram(
        probability, np.array([3]), bins=2, brain=brain, ignore=ignore
    )
    assert histogram.positives.tolist() == [0, 1]
    assert histogram.negatives.tolist() == [1, 0]
    assert histogram.bin_width == 0.5
    assert pixel_roc(histogram).threshold.tolist() == [np.inf, 0.5, 0.0]
    everywhere = probability_histogram(probability, np.array([3]), bins=2)
    assert everywhere.negatives.tolist() == [2, 1]
    top = probability_histogram(np.array([[[1.0, 0.5]]]), np.array([0]), bins=4)
    assert (top.positives.tolist(), top.negatives.tolist()) == ([0, 0, 0, 1], [0, 0, 1, 0])


def test_the_error_of_the_area_is_half_the_tied_pairs() -> None:
    """One of 2 * 4 pairs of the first bin and 2 of the second are tied: 2 + 1 of 2 * 4."""
    histogram = ProbabilityHistogram(np.array([1, 1]), np.array([2, 2]))
    assert area_error(histogram) == pytest.approx((1 * 2 + 1 * 2) / 2 / (2 * 4))


def test_the_defaults_are_those_of_the_page() -> None:
    settings = Settings()
    assert str(settings.rule) == "paper:0.4"
    assert (settings.probability_threshold, settings.ignore_fraction) == (0.5, 0.4)
    assert (settings.score, settings.size_rule, settings.bins) == ("mean", "keep", 4096)
