"""Pasting of lesions from some crops into others, in tf ops.

A microbleed takes signal away. So the remaining share of the signal is pasted: the lesion's pixels
over the tissue around them. Another crop is multiplied by it and keeps its own tissue, vessels and
noise.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from cmbnet.training.data.cache_part import BRAIN, IGNORE, LESION, MIMIC

SURROUND_PX = 15
"""Side of the square whose tissue is compared with a lesion."""

MOST_LEFT = 1.0
"""Largest remaining share, because a lesion makes nothing brighter."""


def paste_lesions(image: Any, marks: Any, chosen: Any) -> tuple[Any, Any]:
    """Put the lesions of the crops at even indices into the crops after them.

    A lesion is pasted only if all its pixels meet brain that is neither lesion, mimic nor ignored.
    Crops are float32 (2 n, y, x, 3) in [0, 1], marks uint8 (2 n, y, x, 1) with the bits of the
    cache. `chosen` says which pairs are wanted, bool (n,). Return both, of the same shapes.
    """
    lesion = _has(marks[::2], LESION)
    free = _has(marks[1::2], BRAIN) & ~_has(marks[1::2], LESION | MIMIC | IGNORE)
    fits = tf.reduce_all(free | ~lesion, axis=(1, 2, 3)) & tf.reduce_any(lesion, axis=(1, 2, 3))
    pairs = tf.where(chosen & fits)[:, 0]
    source, target = 2 * pairs, 2 * pairs + 1
    mask = tf.gather(lesion, pairs)
    pasted = tf.gather(image, target) * _left(tf.gather(image, source), mask)
    bits = tf.where(mask, tf.constant(LESION, tf.uint8), tf.constant(0, tf.uint8))
    marked = tf.bitwise.bitwise_or(tf.gather(marks, target), bits)
    where = target[:, tf.newaxis]
    return (
        tf.tensor_scatter_nd_update(image, where, pasted),
        tf.tensor_scatter_nd_update(marks, where, marked),
    )


def _has(marks: Any, bits: int) -> Any:
    return tf.bitwise.bitwise_and(marks, tf.constant(bits, tf.uint8)) > 0


def _left(image: Any, mask: Any) -> Any:
    """Compute the share of the signal that lesions leave: 1 away from them, smooth at their rim."""
    wide = tf.nn.max_pool2d(tf.cast(mask, tf.float32), 3, 1, "SAME")
    tissue = 1.0 - wide
    around = _mean(image * tissue) / tf.maximum(_mean(tissue), 1e-3)
    share = tf.clip_by_value(image / tf.maximum(around, 1e-3), 0.0, MOST_LEFT)
    rim = tf.nn.avg_pool2d(wide, 3, 1, "SAME")
    weight = tf.where(mask, tf.ones_like(rim), rim)
    return 1.0 - weight * (1.0 - share)


def _mean(values: Any) -> Any:
    return tf.nn.avg_pool2d(values, SURROUND_PX, 1, "SAME")
