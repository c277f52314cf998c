"""Draw tubes, sheets, plates, rims and blobs, which are no microbleeds, into crops in tf ops.

They cost next to nothing, and are dark or bright at random. A structure that is long in any
direction, or larger than 10 mm, is no microbleed, whatever its cross-section looks like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from cmbnet.training.data.cache_part import LESION

BLOB_PX = (10.0, 32.0)
"""Radii of blobs and rims. The smallest is 12 mm wide at 0.6 mm per pixel."""

THIN_PX, PLATE_PX = (0.6, 3.0), (6.0, 18.0)
"""Half the width of tubes, sheets and rims, and half the width of plates."""

GAIN = (0.05, 1.4)
"""Share of the signal that a shape leaves."""

CLEARANCE_PX = 9
"""Side of the square around a lesion's pixel where no shape may be."""
LEAST_TOUCH = 0.05


def draw_shapes(
    image: Any, marks: Any, share: float, uniform: Callable[[float, float], Any]
) -> Any:
    """Draw a shape into a share of the crops. The truth stays as it is.

    A shape runs through the three slices and moves a little from one to the next. A shape that
    would touch a lesion is left out.
    Crops are float32 (n, y, x, 3) in [0, 1], marks uint8 (n, y, x, 1). `share` is the probability
    of a shape in a crop. `uniform` maps a range to random numbers (n,). Return the changed crops.
    """
    chosen = tf.where(uniform(0.0, 1.0) < share)
    rows = chosen[:, 0]

    def drawn(low: float, high: float) -> Any:
        return tf.reshape(tf.gather(uniform(low, high), rows), (-1, 1, 1, 1))

    part = tf.gather(image, rows)
    distance = _distance(tf.shape(image)[1], drawn)
    inside = tf.sigmoid(-distance / drawn(0.25, 1.0))
    lesion = tf.cast(tf.bitwise.bitwise_and(tf.gather(marks, rows), LESION) > 0, tf.float32)
    near = tf.nn.max_pool2d(lesion, CLEARANCE_PX, 1, "SAME")
    touched = tf.reduce_max(inside * near, axis=(1, 2, 3), keepdims=True) > LEAST_TOUCH
    inside = tf.where(touched, 0.0, inside)
    part *= 1.0 - inside * (1.0 - drawn(*GAIN))
    return tf.tensor_scatter_nd_update(image, chosen, part)


def _distance(side: Any, drawn: Callable[[float, float], Any]) -> Any:
    """Compute the distance in pixels to a random shape, negative inside: (k, y, x, 3)."""
    half = tf.cast(side, tf.float32) / 2.0
    line = tf.range(tf.cast(side, tf.float32)) + 0.5 - half
    slices = tf.constant([-1.0, 0.0, 1.0])
    y = line[None, :, None, None] - half * drawn(-0.8, 0.8) - slices * drawn(-3.0, 3.0)
    x = line[None, None, :, None] - half * drawn(-0.8, 0.8) - slices * drawn(-3.0, 3.0)
    angle = drawn(0.0, float(np.pi))
    along = x * tf.cos(angle) + y * tf.sin(angle)
    across = y * tf.cos(angle) - x * tf.sin(angle) + drawn(-0.02, 0.02) * along**2
    thin, first, second = drawn(*THIN_PX), drawn(*BLOB_PX), drawn(*BLOB_PX)
    radius = tf.sqrt((along / first) ** 2 + (across / second) ** 2)
    blob = (radius - 1.0) * tf.minimum(first, second)
    kind = drawn(0.0, 4.0)
    shapes = (
        tf.abs(across) - thin,  # a tube along the slices, or a sheet across them
        tf.abs(across) - drawn(*PLATE_PX),
        blob,
        tf.abs(blob) - thin,
    )
    result = shapes[0]
    for number, shape in enumerate(shapes[1:], start=1):
        result = tf.where(kind >= float(number), shape, result)
    return result
