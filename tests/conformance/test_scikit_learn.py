"""ROC, precision-recall and kappa against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from cmbnet.evaluation.match.labels import read_labels
from cmbnet.evaluation.match.overlap import count_voxels
from cmbnet.evaluation.stats.curves import (
    average_precision,
    pixel_auc,
    pixel_pr,
    pixel_roc,
    probability_histogram,
)
from cmbnet.evaluation.stats.kappa import KappaWeights, confusion, kappa_value
from cmbnet.evaluation.stats.roc import auc, roc_curve
from cmbnet.volume import Volume

metrics = pytest.importorskip("sklearn.metrics")


def samples(seed: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes and scores; few levels make many ties."""
    rng = np.random.default_rng(seed)
    positive = rng.random(200) < 0.3
    score = np.round((rng.random(200) + positive * 0.3) / 1.3 * levels) / levels
    return positive, score


@pytest.mark.parametrize("levels", [3, 10, 1_000_000])
@pytest.mark.parametrize("seed", range(3))
def test_roc(seed: int, levels: int) -> None:
    positive, score = samples(seed, levels)
    curve = roc_curve(positive, score)
    fpr, tpr, threshold = metrics.roc_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose(curve.x, fpr)
    np.testing.assert_allclose(curve.y, tpr)
    np.testing.assert_allclose(curve.threshold, threshold)
    assert auc(positive, score) == pytest.approx(metrics.roc_auc_score(positive, score))


@pytest.mark.parametrize("levels", [3, 255])
def test_pixel_curves_are_exact_for_eight_bit_probabilities(levels: int) -> None:
    positive, score = samples(7, levels)
    histogram = probability_histogram(score.reshape(2, 10, 10), np.flatnonzero(positive), bins=4096)
    assert pixel_auc(histogram) == pytest.approx(metrics.roc_auc_score(positive, score))
    precision_recall = pixel_pr(histogram)
    expected = metrics.average_precision_score(positive, score)
    assert average_precision(precision_recall) == pytest.approx(expected)
    fpr, tpr, _ = metrics.roc_curve(positive, score, drop_intermediate=False)
    ours = pixel_roc(histogram)
    points = np.stack([ours.x, ours.y], axis=1)
    moved = np.append(True, np.any(np.diff(points, axis=0) > 0, axis=1))  # empty bins repeat
    np.testing.assert_allclose(points[moved], np.stack([fpr, tpr], axis=1), atol=1e-12)


@pytest.mark.parametrize(("weights", "theirs"), [("none", None), ("linear", "linear"),
                                                 ("quadratic", "quadratic")])  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_kappa(weights: KappaWeights, theirs: str | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 5, 80)
    second = np.clip(first + rng.integers(-1, 2, 80), 0, 4)
    table = confusion(first.tolist(), second.tolist(), 5)
    expected = metrics.cohen_kappa_score(first, second, weights=theirs, labels=range(5))
    assert float(kappa_value(table, weights)) == pytest.approx(expected)


def test_pixel_metrics() -> None:
    rng = np.random.default_rng(5)
    truth, predicted = rng.random((2, 4, 10, 10)) < 0.3
    lesions = [read_labels(Volume(mask, np.eye(4))) for mask in (truth, predicted)]
    v = count_voxels(lesions[0], lesions[1], voxel_mm3=1.0)
    a, b = truth.ravel(), predicted.ravel()
    assert v.tp / (v.tp + v.fp) == pytest.approx(metrics.precision_score(a, b))
    assert v.tp / (v.tp + v.fn) == pytest.approx(metrics.recall_score(a, b))
    assert 2 * v.tp / (2 * v.tp + v.fp + v.fn) == pytest.approx(metrics.f1_score(a, b))
    assert (v.tp + v.tn) / truth.size == pytest.approx(metrics.accuracy_score(a, b))
