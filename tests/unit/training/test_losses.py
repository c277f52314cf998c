from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cmbnet.training.fit.losses import OVERLAP_SMOOTHING_PX, make_loss
from cmbnet.training.fit.recipe import LossSettings


def loss(truth: Any, probability: Any, weight: Any = None, **settings: Any) -> float:
    """Loss of single-row images given as nested lists (n, x)."""
    truth = np.asarray(truth, np.float32)[:, np.newaxis]
    weight = np.ones_like(truth) if weight is None else np.asarray(weight)[:, np.newaxis]
    target = np.stack([truth, weight], axis=-1).astype(np.float32)
    estimate = np.asarray(probability, np.float32)[:, np.newaxis, :, np.newaxis]
    return float(make_loss(LossSettings(**settings))(target, estimate))


def test_cross_entropy_by_hand() -> None:
    expected = -(math.log(0.8) + math.log(0.9)) / 2
    assert loss([[1, 0]], [[0.8, 0.1]]) == pytest.approx(expected, rel=1e-5)


def test_ignored_pixels_weigh_nothing() -> None:
    counted = loss([[1, 0]], [[0.8, 0.1]])
    assert loss([[1, 0, 0]], [[0.8, 0.1, 0.99]], [[1, 1, 0]]) == pytest.approx(counted, rel=1e-6)


def test_focal_loss_by_hand() -> None:
    expected = -(0.2**2 * math.log(0.8) + 0.1**2 * math.log(0.9)) / 2
    assert loss([[1, 0]], [[0.8, 0.1]], pixel="focal") == pytest.approx(expected, rel=1e-5)


def test_batch_dice_by_hand() -> None:
    """Overlap is 0.8 + 0.6, false 0.1, missed 0.2 + 0.4, over both slices of the batch."""
    s = OVERLAP_SMOOTHING_PX
    expected = 1 - (1.4 + s) / (1.4 + 0.5 * 0.1 + 0.5 * 0.6 + s)
    found = loss([[1, 0], [1, 0]], [[0.8, 0.1], [0.6, 0.0]], pixel_weight=0, overlap="dice")
    assert found == pytest.approx(expected, rel=1e-5)


def test_tversky_weighs_misses_and_false_alarms() -> None:
    weights = {"tversky_false_positive": 0.2, "tversky_false_negative": 0.8}
    s = OVERLAP_SMOOTHING_PX
    expected = 1 - (0.7 + s) / (0.7 + 0.2 * 0.4 + 0.8 * 0.3 + s)
    found = loss([[1, 0]], [[0.7, 0.4]], pixel_weight=0, overlap="tversky", **weights)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("overlap", ["dice", "tversky"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_empty_batch_has_a_finite_loss_and_gradient(overlap: str, value: float) -> None:
    function = make_loss(LossSettings(overlap=overlap))  # type: ignore[arg-type]
    estimate = tf.Variable(np.full((2, 4, 4, 1), value, np.float32))
    target = np.zeros((2, 4, 4, 2), np.float32)
    target[..., 1] = 1.0
    with tf.GradientTape() as tape:
        answer = function(target, estimate)
    assert math.isfinite(float(answer))
    assert np.isfinite(tape.gradient(answer, estimate).numpy()).all()


def test_a_wholly_ignored_batch_costs_nothing() -> None:
    assert loss([[1, 0]], [[0.2, 0.9]], [[0, 0]], overlap="dice") == 0.0


def test_the_parts_are_summed_by_their_weights() -> None:
    both = loss([[1, 0]], [[0.7, 0.4]], pixel_weight=3, overlap="dice", overlap_weight=2)
    pixel = loss([[1, 0]], [[0.7, 0.4]])
    dice = loss([[1, 0]], [[0.7, 0.4]], pixel_weight=0, overlap="dice")
    assert both == pytest.approx(3 * pixel + 2 * dice, rel=1e-5)
