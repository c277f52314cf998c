"""What must not change, and what must, whatever the volumes are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from cmbnet.evaluation import Case, CohortScores, MatchingRule, Settings, evaluate_cohort
from cmbnet.evaluation.match.labels import centroids_mm, diameters_mm, read_labels
from cmbnet.evaluation.stats.bootstrap import ClusteredAuc, draw_weights, resample
from cmbnet.evaluation.stats.froc import froc_curve, lesion_scores_of
from cmbnet.evaluation.stats.intervals import wilson
from cmbnet.evaluation.stats.kappa import kappa_value
from cmbnet.evaluation.stats.metrics import METRICS
from cmbnet.evaluation.stats.roc import auc, roc_curve
from cmbnet.lesions import label_components, measure_components, spacing_affine
from cmbnet.volume import Volume

RULES = ("paper", "coverage", "iou:0.2", "any-voxel", "centroid:1.5")
SYMMETRIC = ("paper", "iou:0.2", "any-voxel", "centroid:1.5")
FEW = settings(max_examples=40)
MASKS = hnp.arrays(np.uint8, (3, 5, 6), elements=st.sampled_from([0, 0, 0, 1]))


def score(
    truth: NDArray[Any], predicted: NDArray[Any], rule: str = "paper", **options: Any
) -> CohortScores:
    spacing = options.get("spacing", (1.0, 1.0, 1.0))
    affine = spacing_affine(spacing)
    case = Case("a", Volume(truth, affine), Volume(predicted, affine))
    return evaluate_cohort([case], Settings(rule=MatchingRule.parse(rule)))


def same(first: CohortScores, second: CohortScores, *, but: tuple[str, ...] = ()) -> None:
    for name, value in first.metrics.items():
        if name not in but:
            np.testing.assert_allclose(second.metrics[name], value, rtol=1e-12, err_msg=name)


@FEW
@given(MASKS, MASKS, st.sampled_from(RULES), st.sampled_from([(0,), (1,), (2,), (0, 1, 2)]))
def test_flips_change_nothing(
    truth: NDArray[Any], predicted: NDArray[Any], rule: str, axes: tuple[int, ...]
) -> None:
    flipped = score(np.flip(truth, axes), np.flip(predicted, axes), rule)
    same(score(truth, predicted, rule), flipped)


@FEW
@given(MASKS, MASKS, st.sampled_from(RULES), st.permutations([0, 1, 2]))
def test_axis_permutations_change_nothing(
    truth: NDArray[Any], predicted: NDArray[Any], rule: str, order: list[int]
) -> None:
    """The affine is permuted with the array: the same lesions in another file order."""
    affine = spacing_affine((3.0, 1.0, 1.0))
    moved_affine = affine[:, [*order, 3]]
    moved = [Volume(np.transpose(a, order), moved_affine) for a in (truth, predicted)]
    plain = [Volume(a, affine) for a in (truth, predicted)]
    options = Settings(rule=MatchingRule.parse(rule))
    same(
        evaluate_cohort([Case("a", plain[0], plain[1])], options),
        evaluate_cohort([Case("a", moved[0], moved[1])], options),
    )


@FEW
@given(MASKS, st.randoms(use_true_random=False), st.sampled_from(RULES))
def test_label_numbers_do_not_matter(mask: NDArray[Any], random: Any, rule: str) -> None:
    truth = mask * np.arange(1, 91, dtype=np.int32).reshape(mask.shape) % 7
    predicted = np.roll(truth, 1, axis=2)
    numbers = list(range(1, 90))
    random.shuffle(numbers)
    renumbered = np.array([0, *numbers], np.int32)[truth]
    if len(np.unique(truth)) < 3:  # with one label the file would be a mask
        return
    same(score(truth, predicted, rule), score(renumbered, predicted, rule))


@FEW
@given(st.lists(st.tuples(MASKS, MASKS), min_size=2, max_size=5), st.randoms())
def test_case_order_does_not_matter(
    masks: list[tuple[NDArray[Any], NDArray[Any]]], random: Any
) -> None:
    cases = [
        Case(f"c{n}", Volume(t, np.eye(4)), Volume(p, np.eye(4))) for n, (t, p) in enumerate(masks)
    ]
    shuffled = list(cases)
    random.shuffle(shuffled)
    first, second = evaluate_cohort(cases), evaluate_cohort(shuffled)
    assert first.counts == second.counts
    same(first, second)
    intervals = [
        {k: r.interval() for k, r in resample(s.columns, resamples=200).items()}
        for s in (first, second)
    ]
    assert str(intervals[0]) == str(intervals[1])


@FEW
@given(MASKS, MASKS, st.sampled_from(RULES), st.integers(2, 3), st.integers(2, 3))
def test_finer_voxels_change_nothing(
    truth: NDArray[Any], predicted: NDArray[Any], rule: str, along: int, across: int
) -> None:
    """Integer repeats of every voxel on a finer grid: the same lesions in the same place."""

    def finer(mask: NDArray[Any]) -> NDArray[Any]:
        return mask.repeat(along, axis=0).repeat(across, axis=1).repeat(across, axis=2)

    spacing = (1 / along, 1 / across, 1 / across)
    fine = score(finer(truth), finer(predicted), rule, spacing=spacing)
    # A lesion is as long as its pixels: a size class may change, which is no matter of matching.
    sizes = tuple(m.name for m in METRICS if m.name.endswith(("_small", "_large")))
    same(score(truth, predicted, rule), fine, but=sizes)


@FEW
@given(MASKS, st.sampled_from(RULES))
def test_a_prediction_equal_to_the_truth_is_perfect(mask: NDArray[Any], rule: str) -> None:
    mask[0, 0, 0] = 1
    m = score(mask, mask, rule).metrics
    assert (m["dice"], m["lesion_f1"], m["fp_per_scan"], m["patient_tpr"]) == (1, 1, 0, 1)
    assert m["volume_error_mm3"] == 0


@FEW
@given(MASKS, MASKS, st.sampled_from(SYMMETRIC))
def test_swapping_sides_swaps_precision_and_recall(
    truth: NDArray[Any], predicted: NDArray[Any], rule: str
) -> None:
    m, swapped = score(truth, predicted, rule).metrics, score(predicted, truth, rule).metrics
    for first, second in (("precision", "recall"), ("lesion_precision", "lesion_recall")):
        np.testing.assert_equal(m[first], swapped[second])
        np.testing.assert_equal(m[second], swapped[first])
    np.testing.assert_equal(m["dice"], swapped["dice"])
    assert m["volume_error_mm3"] == -swapped["volume_error_mm3"]


@FEW
@given(MASKS, MASKS, st.sampled_from(("coverage", "iou:0.2", "any-voxel", "centroid:1.5")))
def test_one_to_one_rules_find_as_many_as_are_correct(
    truth: NDArray[Any], predicted: NDArray[Any], rule: str
) -> None:
    scores = score(truth, predicted, rule)
    assert scores.counts["found"] == scores.counts["correct"]
    case = scores.cases[0]
    pairs = {(t.label, t.partner) for t in case.truth if t.verdict == "found"}
    assert pairs == {(p.partner, p.label) for p in case.predicted if p.verdict == "correct"}


@FEW
@given(hnp.arrays(np.int8, (9, 10, 11), elements=st.sampled_from([0] * 30 + [1])),
       st.sampled_from([np.uint8, np.int16, np.float32, np.bool_]))  # fmt: skip
def test_the_list_of_voxels_is_the_labelled_image(mask: NDArray[Any], dtype: Any) -> None:
    """Cutting empty planes out, and measuring the list, changes nothing."""
    affine = spacing_affine((2.0, 0.7, 0.5))
    labels = read_labels(Volume(mask.astype(dtype), affine))
    expected, count = label_components(mask)
    assert labels.count == count
    np.testing.assert_array_equal(labels.dense(), expected)
    for ours, theirs, place in zip(
        zip(diameters_mm(labels, affine), labels.voxels, strict=True),
        measure_components(expected, affine),
        centroids_mm(labels, affine),
        strict=True,
    ):
        assert ours == (theirs.max_in_plane_diameter_mm, theirs.voxels)
        np.testing.assert_allclose(place, theirs.centroid_ras_mm, atol=1e-9)


@FEW
@given(MASKS, MASKS)
def test_stricter_thresholds_never_find_more(truth: NDArray[Any], predicted: NDArray[Any]) -> None:
    for kind in ("paper", "coverage", "iou"):
        found = [
            score(truth, predicted, f"{kind}:{t}").counts["found"] for t in (0.1, 0.4, 0.6, 0.9)
        ]
        assert found == sorted(found, reverse=True)


@FEW
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=60),
)
def test_roc_rises_and_its_area_is_the_rank_sum(samples: list[tuple[bool, int]]) -> None:
    positive = np.array([s[0] for s in samples])
    value = np.array([s[1] for s in samples], float)
    curve = roc_curve(positive, value)
    if positive.all() or not positive.any():
        assert np.isnan(auc(positive, value))
        return
    assert np.all(np.diff(curve.x) >= 0)
    assert np.all(np.diff(curve.y) >= 0)
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    area = np.sum(np.diff(curve.x) * (curve.y[1:] + curve.y[:-1]) / 2)
    assert area == pytest.approx(auc(positive, value))
    assert auc(positive, -value) == pytest.approx(1 - auc(positive, value))


@FEW
@given(MASKS, MASKS, hnp.arrays(np.float32, (3, 5, 6), elements=st.floats(0, 1, width=16)))
def test_froc_rises_to_the_operating_point(
    truth: NDArray[Any], predicted: NDArray[Any], probability: NDArray[Any]
) -> None:
    grid = np.eye(4)
    case = Case("a", Volume(truth, grid), Volume(predicted, grid), Volume(probability, grid))
    scores = evaluate_cohort([case])
    lesions = lesion_scores_of(scores.cases)
    assert lesions is not None
    curve = froc_curve(lesions)
    assert np.all(np.diff(curve.x) >= 0)
    if scores.counts["found"] + scores.counts["missed"]:
        assert np.all(np.diff(curve.y) >= 0)
        assert curve.y[-1] == pytest.approx(scores.metrics["lesion_recall"])
    assert curve.x[-1] == scores.metrics["fp_per_scan"]


@FEW
@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 4)), min_size=1),
    st.integers(0, 100),
)
def test_clustered_auc_is_the_auc_of_repeated_samples(
    samples: list[tuple[int, bool, int]], seed: int
) -> None:
    patient, positive, value = (np.array(column) for column in zip(*samples, strict=True))
    clustered = ClusteredAuc.of(patient, positive.astype(bool), value.astype(float), 6)
    weights = next(draw_weights(6, 3, seed))
    for row, area in zip(weights, clustered(weights), strict=True):
        repeat = row[patient].astype(int)
        expected = auc(positive.repeat(repeat).astype(bool), value.repeat(repeat).astype(float))
        np.testing.assert_allclose(area, expected, rtol=1e-5)


@FEW
@given(st.integers(1, 200), st.data())
def test_wilson_holds_the_share_and_mirrors(total: int, data: Any) -> None:
    hits = data.draw(st.integers(0, total))
    interval, mirror = wilson(hits, total), wilson(total - hits, total)
    assert 0 <= interval.low <= hits / total <= interval.high <= 1
    assert interval.low == pytest.approx(1 - mirror.high)


@FEW
@given(hnp.arrays(np.int64, (4, 4), elements=st.integers(0, 20)))
def test_kappa_is_symmetric_and_at_most_one(table: NDArray[np.int64]) -> None:
    for weights in ("none", "linear", "quadratic"):
        value = float(kappa_value(table.astype(float), weights))
        mirrored = float(kappa_value(table.T.astype(float), weights))
        np.testing.assert_allclose(value, mirrored, atol=1e-12)
        assert np.isnan(value) or value <= 1 + 1e-12
