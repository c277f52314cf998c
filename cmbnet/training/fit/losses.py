"""Losses on probabilities, in `keras.ops` so that they run on every Keras backend.

The target has two channels: the truth (0 or 1) and the weight of the pixel (0 where a reader could
not judge, else 1). Overlap losses cover the whole batch. Per slice they would be undefined for the
empty half.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from cmbnet.training.fit.recipe import LossSettings

PROBABILITY_MARGIN = 1e-6
"""Distance of probabilities from 0 and 1 in logarithms."""

OVERLAP_SMOOTHING_PX = 10.0
"""Pixels added to numerator and denominator: about half the area of a 3 mm lesion."""

Loss = Callable[[Any, Any], Any]


def make_loss(settings: LossSettings) -> Loss:
    """Make the loss of a recipe: a function of target (n, y, x, 2) and probability (n, y, x, 1)."""

    def loss(target: Any, probability: Any) -> Any:
        truth, weight, estimate = _split(target, probability)
        total = settings.pixel_weight * pixel_loss(truth, weight, estimate, settings)
        if settings.overlap != "none":
            total += settings.overlap_weight * overlap_loss(truth, weight, estimate, settings)
        return total

    return loss


def _split(target: Any, probability: Any) -> tuple[Any, Any, Any]:
    """Return truth, weight and probability, each (n, y, x) float32."""
    return (
        ops.cast(target[..., 0], "float32"),
        ops.cast(target[..., 1], "float32"),
        ops.cast(probability[..., 0], "float32"),
    )


def pixel_loss(truth: Any, weight: Any, probability: Any, settings: LossSettings) -> Any:
    """Compute the mean (focal) binary cross-entropy over the weighted pixels.

    References:
        Lin et al. 2017, Focal loss for dense object detection, doi:10.1109/ICCV.2017.324.
    """
    p = ops.clip(probability, PROBABILITY_MARGIN, 1.0 - PROBABILITY_MARGIN)
    loss = -truth * ops.log(p) - (1.0 - truth) * ops.log(1.0 - p)
    if settings.pixel == "focal":
        loss *= ops.abs(truth - p) ** settings.focal_gamma
    return ops.sum(loss * weight) / ops.maximum(ops.sum(weight), 1.0)


def overlap_loss(truth: Any, weight: Any, probability: Any, settings: LossSettings) -> Any:
    """Compute one minus the soft Dice or Tversky index of the batch, finite on an empty one.

    References:
        Salehi et al. 2017, Tversky loss, doi:10.1007/978-3-319-67389-9_44. With both weights
        0.5 it is the soft Dice of Milletari et al. 2016, doi:10.1109/3DV.2016.79.
    """
    false_positive, false_negative = 0.5, 0.5
    if settings.overlap == "tversky":
        false_positive = settings.tversky_false_positive
        false_negative = settings.tversky_false_negative
    hit = ops.sum(truth * probability * weight)
    extra = ops.sum((1.0 - truth) * probability * weight)
    missed = ops.sum(truth * (1.0 - probability) * weight)
    index = (hit + OVERLAP_SMOOTHING_PX) / (
        hit + false_positive * extra + false_negative * missed + OVERLAP_SMOOTHING_PX
    )
    return 1.0 - index
