"""Counts and rates that can be worked out on paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.evaluation import Case, CohortScores, Settings, evaluate_cohort, score_case
from cmbnet.evaluation.cohort.strata import agreement_by_group, stratify
from cmbnet.evaluation.stats.columns import Columns
from cmbnet.evaluation.stats.counts import agreement_of_counts
from cmbnet.evaluation.stats.froc import (
    candidate_samples,
    froc_curve,
    lesion_average_precision,
    lesion_samples,
    lesion_scores_of,
    patient_samples,
    sensitivity_at,
)
from cmbnet.evaluation.stats.metrics import METRICS, compute_all
from cmbnet.evaluation.stats.roc import auc
from cmbnet.lesions import size_name, spacing_affine
from cmbnet.volume import Volume


def line(text: str) -> NDArray[np.float32]:
    """One row of voxels; '.' is 0, digits are labels."""
    return np.array([[[0 if c == "." else int(c) for c in text]]], np.float32)


def volume(data: NDArray[Any]) -> Volume:
    return Volume(data, spacing_affine((2.0, 1.0, 1.0)))  # voxels of 2 mm3


def cohort(*rows: tuple[str, str], **settings: Any) -> CohortScores:
    cases = (
        Case(f"c{index}", volume(line(truth)), volume(line(predicted)))
        for index, (truth, predicted) in enumerate(rows)
    )
    return evaluate_cohort(cases, Settings(**settings))


# Truth and prediction of two patients of 10 voxels each:
#   A: truth 4, predicted 4, shared 2: tp 2, fp 2, fn 2, tn 4; Dice 4/8
#   B: truth 1, predicted 3, shared 1: tp 1, fp 2, fn 0, tn 7; Dice 2/4 ... 2*1/(2+2+0) = 1/2
#   C: truth 2, nothing predicted: tp 0, fn 2, tn 8; Dice 0
TWO = (("1111......", "..1111...."), ("1.........", "111......."), ("11........", ".........."))


def test_data_level_pools_voxels_and_patient_level_averages_patients() -> None:
    m = cohort(*TWO).metrics
    assert m["dice"] == pytest.approx(2 * 3 / (2 * 3 + 4 + 4))
    assert m["precision"] == pytest.approx(3 / 7)
    assert m["recall"] == pytest.approx(3 / 7)
    assert m["patient_mean_dice"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert m["patient_mean_precision"] == pytest.approx((1 / 2 + 1 / 3) / 2)  # C has none
    assert m["patient_mean_recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_volume_error_is_signed_and_in_mm3() -> None:
    m = cohort(*TWO).metrics
    # Differences 0, +2 and -2 voxels of 2 mm3; true volumes 8, 2 and 4 mm3.
    assert m["volume_error_mm3"] == pytest.approx((0 + 4 - 4) / 3)
    assert m["absolute_volume_error_mm3"] == pytest.approx((0 + 4 + 4) / 3)
    assert m["volume_share"] == pytest.approx(0 / 14)
    assert m["patient_mean_volume_share"] == pytest.approx((0 + 2 - 1) / 3)


def test_two_scans_of_a_patient_are_one_patient() -> None:
    cases = [
        Case(str(i), volume(line(t)), volume(line(p)), patient="same")
        for i, (t, p) in enumerate(TWO[:2])
    ]
    scores = evaluate_cohort(cases)
    assert scores.counts["patients"] == 1
    assert scores.counts["scans"] == 2
    assert scores.metrics["patient_mean_dice"] == pytest.approx(2 * 3 / (2 * 3 + 4 + 2))


def test_brain_and_ignore_restrict_the_voxels() -> None:
    truth, predicted = line("111.11...."), line("1....11..1")
    brain, ignore = line("11111111.."), line("1.........")
    case = Case("a", volume(truth), volume(predicted), brain=volume(brain), ignore=volume(ignore))
    v = score_case(case).voxels
    # Counted are voxels 1 to 7: truth 1, 2, 4, 5; predicted 5, 6.
    assert (v.tp, v.fp, v.fn, v.tn) == (1, 1, 3, 2)


def test_lesion_metrics_count_lesions_of_either_side() -> None:
    # Found 2 of 3; predicted 3, of which 2 correct.
    m = cohort(("11.11.11..", "11.11....1"), ("..........", "..........")).metrics
    assert m["lesion_recall"] == pytest.approx(2 / 3)
    assert m["lesion_precision"] == pytest.approx(2 / 3)
    assert m["lesion_f1"] == pytest.approx(2 / 3)
    assert m["fp_per_scan"] == pytest.approx(1 / 2)


def test_f1_is_the_harmonic_mean_where_the_sides_count_differently() -> None:
    # One prediction over two true lesions: recall 2/2, precision 1/1; and a false one: 1/2.
    m = cohort(("11.11.....", "11111....1")).metrics
    assert m["lesion_recall"] == 1
    assert m["lesion_precision"] == pytest.approx(1 / 2)
    assert m["lesion_f1"] == pytest.approx(2 * 1 * 0.5 / 1.5)


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ("11........", "11........", "patient_tp"),
        ("11.11.....", "11.......1", "patient_tp"),  # one correct lesion suffices
        ("11........", ".......11.", "patient_fn"),  # a false lesion is no correct one
        ("11........", "..........", "patient_fn"),
        ("..........", "1.........", "patient_fp"),
        ("..........", "..........", "patient_tn"),
    ],
)
def test_patient_classes(truth: str, predicted: str, expected: str) -> None:
    counts = cohort((truth, predicted)).counts
    names = ("patient_tp", "patient_fp", "patient_tn", "patient_fn")
    assert [name for name in names if counts[name]] == [expected]


def test_the_papers_patient_arithmetic() -> None:
    """10 FP, 2 FN, 84 TN, 93 TP give .106 and .021, as printed by Fan et al. 2022."""
    rows = (
        [("..........", "1.........")] * 10
        + [("11........", "..........")] * 2
        + [("..........", "..........")] * 84
        + [("11........", "11........")] * 93
    )
    m = cohort(*rows).metrics
    assert round(m["patient_fpr"], 3) == 0.106
    assert round(m["patient_fnr"], 3) == 0.021
    assert m["patient_tpr"] == pytest.approx(93 / 95)


def test_the_columns_hold_the_papers_arithmetic_too() -> None:
    names = tuple(one.name for one in METRICS)
    values = dict.fromkeys(_columns_needed(), 1.0)
    values |= {"patient_fp": 10, "patient_fn": 2, "patient_tn": 84, "patient_tp": 93}
    sums = Columns(("p",), tuple(values), np.array([list(values.values())])).sums()
    computed = compute_all(sums)
    assert set(computed) == set(names)
    assert computed["patient_fpr"] == pytest.approx(10 / 94)


def _columns_needed() -> tuple[str, ...]:
    return cohort(("1.", "1.")).columns.names


# ---- ignore region --------------------------------------------------------------------------


def test_a_lesion_mostly_in_the_ignore_region_is_left_out() -> None:
    truth, predicted = line("111.......111"), line("111.11....111")
    ignore = line("11..11.......")
    case = Case("a", volume(truth), volume(predicted), ignore=volume(ignore))
    scored = score_case(case)
    assert [t.verdict for t in scored.truth] == ["ignored", "found"]
    # The first lies on an ignored true lesion, the second in the ignore region.
    assert [p.verdict for p in scored.predicted] == ["ignored", "ignored", "correct"]


def test_exactly_40_percent_in_the_ignore_region_still_counts() -> None:
    case = Case("a", volume(line("11111")), volume(line("11111")), ignore=volume(line("11...")))
    scored = score_case(case)
    assert [t.verdict for t in scored.truth] == ["found"]


def test_a_correct_lesion_is_correct_even_beside_the_ignore_region() -> None:
    case = Case("a", volume(line("..111")), volume(line("11111")), ignore=volume(line("11...")))
    assert [p.verdict for p in score_case(case).predicted] == ["correct"]


def test_the_size_rule_moves_true_lesions_into_the_ignore_region() -> None:
    # 1 mm pixels: a single pixel is 1 mm, three are 3 mm.
    truth, predicted = line("1...111"), line("1...111")
    case = Case("a", volume(truth), volume(predicted))
    kept = score_case(case)
    assert [t.verdict for t in kept.truth] == ["found", "found"]
    assert kept.notes == ("1 true lesions below 2 mm",)
    left = score_case(case, Settings(size_rule="ignore"))
    assert [t.verdict for t in left.truth] == ["ignored", "found"]
    assert [p.verdict for p in left.predicted] == ["ignored", "correct"]
    assert (left.voxels.tp, left.voxels.tn) == (3, 3)


# ---- strata ---------------------------------------------------------------------------------


def test_size_classes_hold_their_lower_bound() -> None:
    names = [size_name(d) for d in (1.999, 2.0, 4.999, 5.0, 10.0, 10.001)]
    assert names == ["below 2 mm", "2-5 mm", "2-5 mm", "5-10 mm", "5-10 mm", "above 10 mm"]


def test_strata_by_size_and_band() -> None:
    scores = cohort(("111.111111", "111......."), ("..........", "11........"))
    by_name = {(s.kind, s.name): s for s in stratify(scores.cases)}
    small, large = by_name["size", "2-5 mm"], by_name["size", "5-10 mm"]
    assert (small.found, small.missed, small.correct, small.false) == (1, 0, 1, 1)
    assert (large.found, large.missed, large.correct, large.false) == (0, 1, 0, 0)
    assert math.isnan(large.precision)
    none, few = (by_name["true lesions per patient", name] for name in ("0", "2-4"))
    assert (none.scans, none.false, none.fp_per_scan) == (1, 1, 1.0)
    assert (few.scans, few.found, few.missed) == (1, 1, 1)
    m = scores.metrics
    assert (m["recall_small"], m["recall_large"]) == (1.0, 0.0)


def test_regions_go_by_majority_and_ties_to_the_lower_number() -> None:
    regions = volume(line("1223311111"))
    case = Case("a", volume(line("111.11....")), volume(line("..........")), regions=regions)
    # Lesion 1 lies on 1, 2, 2; lesion 2 on 3 and 1.
    scored = score_case(case)
    assert [t.region for t in scored.truth] == ["region 2", "region 1"]
    assert {s.name for s in stratify([scored]) if s.kind == "region"} == {"region 1", "region 2"}


def test_a_table_gives_regions_of_true_lesions_only() -> None:
    """Found 1 of 1 frontal, 0 of 1 temporal; of the two predicted lesions no region is known."""
    case = Case("a", volume(line("11.22.....")), volume(line("11......1.")),
                lesion_regions={1: "frontal", 2: "temporal"})  # fmt: skip
    strata = {s.name: s for s in stratify([score_case(case)]) if s.kind == "region"}
    assert set(strata) == {"frontal", "temporal"}
    front, temple = strata["frontal"], strata["temporal"]
    assert (front.found, front.missed, front.recall) == (1, 0, 1.0)
    assert (temple.found, temple.missed, temple.recall) == (0, 1, 0.0)
    for one in (front, temple):
        assert (one.correct, one.false) == (0, 0)
        assert math.isnan(one.precision)
        assert math.isnan(one.f1)
        assert math.isnan(one.fp_per_scan)


def placed(name: str, truth: str, predicted: str, *regions: str) -> Case:
    """True lesion n and predicted lesion n lie in the n-th of `regions`, by their tables."""
    known = dict(enumerate(regions, start=1))
    return Case(
        name, volume(line(truth)), volume(line(predicted)),
        lesion_regions={**known, 3: "putamen"}, predicted_regions={**known, 3: "basal ganglia"},
    )  # fmt: skip


def test_both_tables_give_strata_and_agreement_by_group() -> None:
    """a: a frontal and a deep lesion found, a cerebellar one false. b: two lobar, one missed."""
    scores = evaluate_cohort([
        placed("a", "11...33...", "11.22.33..", "frontal", "cerebellum"),
        placed("b", "11.22.....", "11........", "frontal", "parietal"),
        placed("c", "..........", "..........", ),
    ])  # fmt: skip
    strata = {(one.kind, one.name): one for one in stratify(scores.cases)}
    counts = {
        key: (one.found, one.missed, one.correct, one.false)
        for key, one in strata.items()
        if key[0] in ("region", "group")
    }
    assert counts == {
        ("region", "frontal"): (2, 0, 2, 0),
        ("region", "parietal"): (0, 1, 0, 0),
        ("region", "basal ganglia"): (1, 0, 1, 0),
        ("region", "cerebellum"): (0, 0, 0, 1),
        ("group", "lobar"): (2, 1, 2, 0),
        ("group", "deep"): (1, 0, 1, 0),
        ("group", "infratentorial"): (0, 0, 0, 1),
    }
    assert strata["group", "infratentorial"].fp_per_scan == pytest.approx(1 / 3)
    lobar, deep, below = agreement_by_group(scores.cases)
    assert [one.group for one in (lobar, deep, below)] == ["lobar", "deep", "infratentorial"]
    assert lobar.bland_altman.difference.tolist() == [0, -1, 0]
    assert lobar.bland_altman.bias[0] == pytest.approx(-1 / 3)
    assert deep.icc.value == pytest.approx(1.0)
    assert below.bland_altman.difference.tolist() == [1, 0, 0]
    # By hand: true 1, 2, 0 and predicted 1, 1, 0; mean squares 3/2 - 1/3, 1/6, 1/6.
    rows, error = 7 / 6, 1 / 6
    assert lobar.icc.value == pytest.approx((rows - error) / (rows + error))


def test_without_predicted_regions_there_is_no_agreement_by_group() -> None:
    case = Case("a", volume(line("11.22.....")), volume(line("11......1.")),
                lesion_regions={1: "frontal", 2: "temporal"})  # fmt: skip
    assert agreement_by_group([score_case(case)]) == ()


def test_a_table_of_regions_must_name_every_lesion() -> None:
    case = Case("a", volume(line("11.22")), volume(line(".....")), lesion_regions={1: "frontal"})
    with pytest.raises(InputRefused, match="case a lacks 2"):
        score_case(case)


# ---- curves ---------------------------------------------------------------------------------


def scored_cohort() -> CohortScores:
    """Two scans. True lesions: found at .9, found at .6, missed. False: .8 and .5."""
    first = Case(
        "a",
        volume(line("11.11.....")),
        volume(line("11.11..11.")),
        probability=volume(np.array([[[0.9, 0.9, 0, 0.5, 0.7, 0, 0, 0.8, 0.8, 0]]])),
    )
    second = Case(
        "b",
        volume(line("11........")),
        volume(line("........11")),
        probability=volume(np.array([[[0.2, 0.4, 0, 0, 0, 0, 0, 0, 0.5, 0.5]]])),
    )
    return evaluate_cohort([first, second])


def test_froc_by_hand() -> None:
    scores = lesion_scores_of(scored_cohort().cases)
    assert scores is not None
    curve = froc_curve(scores)
    # Thresholds inf, .9, .8, .6, .5; found 0 1 1 2 2 of 3; false 0 0 1 1 2 of 2 scans.
    np.testing.assert_allclose(curve.x, [0, 0, 0.5, 0.5, 1])
    np.testing.assert_allclose(curve.y, np.array([0, 1, 1, 2, 2]) / 3)
    assert sensitivity_at(curve, 0.25) == pytest.approx(1 / 3)
    assert sensitivity_at(curve, 0.5) == pytest.approx(2 / 3)
    assert sensitivity_at(curve, 8) == pytest.approx(2 / 3)


def test_the_detector_s_own_scores_come_before_probabilities() -> None:
    """Of three predicted lesions the last, a false one, is the surest in the detector's words."""
    case = Case(
        "a",
        volume(line("11.11.....")),
        volume(line("11.22..33.")),
        probability=volume(np.array([[[0.9, 0.9, 0, 0.5, 0.7, 0, 0, 0.8, 0.8, 0]]])),
        lesion_scores={1: 0.2, 2: 0.4, 3: 0.6},
    )
    cases = evaluate_cohort([case]).cases
    scores = lesion_scores_of(cases)
    assert scores is not None
    assert sorted(scores.found_at) == pytest.approx([0.2, 0.4])
    assert scores.false.tolist() == pytest.approx([0.6])
    patients = patient_samples(cases)
    assert patients is not None
    assert patients.score.tolist() == pytest.approx([0.6])
    # The paper's lesion-level ROC is one of probabilities on both sides.
    paper = lesion_samples(cases)
    assert paper is not None
    assert sorted(paper.score[paper.positive]) == pytest.approx([0.6, 0.9])
    assert paper.score[~paper.positive].tolist() == pytest.approx([0.8])


def test_average_precision_by_hand() -> None:
    scores = lesion_scores_of(scored_cohort().cases)
    assert scores is not None
    # Recall rises by 1/3 at .9 (precision 1/1) and by 1/3 at .6 (precision 2/3).
    assert lesion_average_precision(scores) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)


def test_lesion_roc_ranks_every_true_lesion_against_every_false_one() -> None:
    samples = lesion_samples(scored_cohort().cases)
    assert samples is not None
    assert sorted(samples.score[samples.positive]) == pytest.approx([0.3, 0.6, 0.9])
    assert sorted(samples.score[~samples.positive]) == pytest.approx([0.5, 0.8])
    assert auc(samples.positive, samples.score) == pytest.approx((0 + 1 + 2) / 6)


def test_candidate_roc_leaves_missed_lesions_out() -> None:
    samples = candidate_samples(scored_cohort().cases)
    assert samples is not None
    assert sorted(samples.score[samples.positive]) == pytest.approx([0.6, 0.9])
    assert auc(samples.positive, samples.score) == pytest.approx(3 / 4)


def test_patient_score_is_the_highest_lesion_and_0_without_one() -> None:
    control = Case("c", volume(line("..")), volume(line("..")), probability=volume(line("..")))
    scores = evaluate_cohort([control])
    samples = patient_samples([*scored_cohort().cases, *scores.cases])
    assert samples is not None
    assert dict(zip(samples.patient, samples.score.tolist(), strict=True)) == pytest.approx(
        {"a": 0.9, "b": 0.5, "c": 0.0}
    )
    assert samples.positive.tolist() == [True, True, False]


def test_a_split_lesion_is_found_as_long_as_enough_of_it_is_left() -> None:
    # 6 voxels; parts of 2 (score .9) and 2 (score .6): 2/6 alone, 4/6 together.
    case = Case(
        "a",
        volume(line("111111")),
        volume(line("11..22")),
        probability=volume(np.array([[[0.9, 0.9, 0, 0, 0.6, 0.6]]])),
    )
    assert score_case(case).truth[0].detection_score == pytest.approx(0.6)


def test_the_maximum_can_be_the_score() -> None:
    case = Case(
        "a",
        volume(line("11")),
        volume(line("11")),
        probability=volume(np.array([[[0.9, 0.5]]])),
    )
    assert score_case(case).predicted[0].score == pytest.approx(0.7)
    assert score_case(case, Settings(score="max")).predicted[0].score == pytest.approx(0.9)


def test_a_probability_equal_to_the_threshold_is_predicted() -> None:
    case = Case("a", volume(line("11")), None, probability=volume(np.array([[[0.5, 0.49]]])))
    assert score_case(case).voxels.tp == 1


# ---- counts ---------------------------------------------------------------------------------


def test_count_agreement_by_hand() -> None:
    agreement = agreement_of_counts(np.array([0.0, 1, 3, 12]), np.array([0.0, 2, 3, 9]))
    assert agreement.bland_altman.bias[0] == pytest.approx((0 + 1 + 0 - 3) / 4)
    deviation = np.std([0, 1, 0, -3], ddof=1)
    assert agreement.bland_altman.limits[0][0] == pytest.approx(-0.5 - 1.96 * deviation)
    # Bands 0, 1, 2-4, >10 against 0, 2-4, 2-4, 5-10.
    assert agreement.bands.sum() == 4
    assert agreement.bands[0, 0] == agreement.bands[1, 2] == agreement.bands[2, 2] == 1
    assert agreement.bands[4, 3] == 1
    assert agreement.kappa_presence.value == pytest.approx(1.0)
