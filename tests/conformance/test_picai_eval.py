"""Lesion matching, FROC, average precision and patient AUC against picai_eval 1.4.13."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.evaluation import Case, CohortScores, MatchingRule, Settings, evaluate_cohort
from cmbnet.evaluation.stats.froc import (
    froc_curve,
    lesion_average_precision,
    lesion_scores_of,
    patient_samples,
    sensitivity_at,
)
from cmbnet.evaluation.stats.roc import auc
from cmbnet.io import read_nifti
from cmbnet.lesions import label_components
from cmbnet.volume import Volume

from .shared import DATA, load_json, needs_data, oracle

RULE = Settings(rule=MatchingRule.parse("iou:0.1:spare"))


def candidates(detection: Volume) -> tuple[Volume, dict[int, float]]:
    """picai's candidates: connected components of one confidence each."""
    labels = np.zeros(detection.shape, np.int32)
    scores: dict[int, float] = {}
    for confidence in np.unique(detection.data[detection.data > 0]):
        parts, count = label_components(detection.data == confidence)
        labels[parts > 0] = parts[parts > 0] + len(scores)
        scores |= {len(scores) + n: float(confidence) for n in range(1, count + 1)}
    return detection.with_data(labels), scores


def as_case(name: str, detection: Volume, label: Volume) -> Case:
    predicted, scores = candidates(detection)
    return Case(name, label, predicted, lesion_scores=scores)


@pytest.fixture(scope="module")
def drawn() -> CohortScores:
    maps = DATA / "picai_eval_cases" / "maps"
    return evaluate_cohort(
        (
            as_case(
                f"case-{n}",
                read_nifti(maps / f"case-{n}_detection_map.nii.gz"),
                read_nifti(maps / f"case-{n}_label.nii.gz"),
            )
            for n in range(10)
        ),
        RULE,
    )


@needs_data
def test_published_totals(drawn: CohortScores) -> None:
    counts = drawn.counts
    assert (counts["found"], counts["false"], counts["missed"]) == (5, 4, 5)
    scores = lesion_scores_of(drawn.cases)
    assert scores is not None
    assert lesion_average_precision(scores) == pytest.approx(0.2777777777777778)
    samples = patient_samples(drawn.cases)
    assert samples is not None
    assert auc(samples.positive, samples.score) == pytest.approx(0.75)


@needs_data
def test_published_results_of_each_case(drawn: CohortScores) -> None:
    expected = load_json("picai_eval_cases/expected/metrics-expected.json")
    for case in drawn.cases:
        rows = expected["lesion_results"][case.name]
        found = [t for t in case.truth if t.verdict == "found"]
        assert len(found) == sum(row[0] == 1 and row[1] > 0 for row in rows)
        assert len(case.truth) == sum(row[0] == 1 for row in rows)
        false = sorted(p.score for p in case.predicted if p.verdict == "false")
        assert false == sorted(row[1] for row in rows if row[0] == 0)
        assert sorted(t.detection_score for t in found) == sorted(
            row[1] for row in rows if row[0] == 1 and row[1] > 0
        )


@needs_data
def test_published_froc_points(drawn: CohortScores) -> None:
    expected = load_json("picai_eval_cases/expected/metrics-full-expected.json")
    scores = lesion_scores_of(drawn.cases)
    assert scores is not None
    curve = froc_curve(scores)
    np.testing.assert_allclose(curve.y[1:], expected["lesion_TPR"][:2])
    np.testing.assert_allclose(curve.x[1:], expected["lesion_FPR"][:2], rtol=1e-6)


@needs_data
def test_published_froc_of_plain_lists() -> None:
    """One FROC given as lists of (is lesion, confidence): six scans, five lesions."""
    from cmbnet.evaluation.stats.froc import LesionScores

    expected = load_json("picai_eval_cases/expected/froc_case.json")
    rows = [row for case in expected["lesion_results"].values() for row in case]
    found = np.array([row[1] for row in rows if row[0] == 1], float)
    false = np.array([row[1] for row in rows if row[0] == 0], float)
    curve = froc_curve(LesionScores(found, found, false, scans=6))
    np.testing.assert_allclose(curve.y[1:], [*expected["lesion_TPR"][:4], 1.0])
    np.testing.assert_allclose(curve.x[1:5], expected["lesion_FPR"][:4], rtol=1e-6)
    assert sensitivity_at(curve, 0.3) == expected["TPR_at_FPR_0.3"]
    assert sensitivity_at(curve, 0.1) == expected["TPR_at_FPR_0.1"]


def random_case(seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Boxes at random places; a detection map with one confidence per component."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((6, 24, 24), np.int32)
    detection = np.zeros((6, 24, 24), np.float32)
    for _ in range(rng.integers(0, 6)):
        z, y, x = rng.integers(0, 4), rng.integers(0, 20), rng.integers(0, 20)
        truth[z : z + 2, y : y + 4, x : x + 4] = 1
        if rng.random() < 0.7:
            dy, dx = rng.integers(-2, 3, 2)
            y, x = np.clip([y + dy, x + dx], 0, 20)
            detection[z : z + 2, y : y + 4, x : x + 4] = 1
    for _ in range(rng.integers(0, 3)):
        y, x = rng.integers(0, 20, 2)
        detection[4:6, y : y + 3, x : x + 3] = 1
    parts, count = label_components(detection)
    confidence = np.concatenate([[0], rng.integers(1, 9, count) / 10]).astype(np.float32)
    return confidence[parts], truth


@pytest.mark.parametrize("spare", [True, False])
def test_random_volumes(spare: bool) -> None:
    picai = oracle("picai_eval")
    settings = Settings(rule=MatchingRule("iou", 0.1, spare_extras=spare))
    volumes = [random_case(seed) for seed in range(60)]
    theirs = picai.evaluate(
        y_det=[detection for detection, _ in volumes],
        y_true=[truth for _, truth in volumes],
        allow_unmatched_candidates_with_minimal_overlap=spare,
        num_parallel_calls=1,
    )
    ours = evaluate_cohort(
        (
            as_case(f"{n:03}", Volume(detection, np.eye(4)), Volume(truth, np.eye(4)))
            for n, (detection, truth) in enumerate(volumes)
        ),
        settings,
    )
    rows = [row for case in theirs.lesion_results.values() for row in case]
    assert ours.counts["found"] == sum(row[0] == 1 and row[1] > 0 for row in rows)
    assert ours.counts["missed"] == sum(row[0] == 1 and row[1] == 0 for row in rows)
    assert ours.counts["false"] == sum(row[0] == 0 for row in rows)
    assert ours.counts["found"] > 20
    scores = lesion_scores_of(ours.cases)
    assert scores is not None
    assert lesion_average_precision(scores) == pytest.approx(theirs.AP)
