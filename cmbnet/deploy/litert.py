"""Convert Keras to LiteRT (TensorFlow Lite): float32, float16 weights, or int8, of static shape.

This file and `cmbnet.deploy.mixed` alone know TensorFlow's converter. Shapes are static: with free
ones, upsampling has come out with wrong sizes (tensorflow issues 45090, 43595, 56820); only a
network without any may have them.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from cmbnet.backends.base import Shape
from cmbnet.deploy.mixed import to_mixed_int8
from cmbnet.errors import UsageError

LiteRtPrecision = Literal["float32", "float16", "int8"]

DEFAULT_SHAPES: tuple[Shape, ...] = ((384, 384), (352, 288), (320, 256), (240, 240), (192, 192))
"""The whole frame; crops of 211 x 173 and 192 x 154 mm, which hold most brains at 0.6 mm; and two
for slices near the top and the base of the brain (`cmbnet.slices.runs_of_slices`). On 23 scans of
two simulators, five crops leave .73 of the pixels that one crop for each scan has; six would leave
.71, nine .67."""


def to_litert(
    model: keras.Model,
    *,
    precision: LiteRtPrecision = "float32",
    representative: NDArray[np.float32] | None = None,
) -> bytes:
    """Convert a network for stacks of its own shape, one at a time.

    Args:
        model: Float32 model of fixed shape, on the TensorFlow backend of Keras.
        precision: ``int8`` computes in int8 what `cmbnet.deploy.mixed` says; ``float16`` stores
            weights in half the bytes. Both take and give float32.
        representative: float32 (n, y, x, slices) from real input, with and without lesions;
            needed for int8, whose ranges are measured on it.

    Returns:
        Content of a ``.tflite`` file, input float32 (1, y, x, slices), output (1, y, x, 1).

    Raises:
        UsageError: If representative stacks are missing or have another shape.
    """
    import tensorflow as tf

    shape = model.input_shape[1:]
    single = keras.Input(batch_shape=(1, *shape), name="stack")
    # Not from a concrete function: its variables stay in the file, and int8 then fails or
    # answers NaN (tensorflow-cpu 2.21).
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(single, model(single)))
    if precision == "int8":
        return _int8(converter, _checked(representative, shape))
    return _float(converter, precision)


def free_shape_to_litert(network: keras.Model) -> bytes:
    """Convert a network without upsampling, with half-precision weights and free shapes.

    Input axes are free, except the last.
    """
    import tensorflow as tf

    return _float(tf.lite.TFLiteConverter.from_keras_model(network), "float16")


def _float(converter: Any, precision: LiteRtPrecision) -> bytes:
    """Convert with weights in float32 or float16."""
    import tensorflow as tf

    if precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    with _quiet():
        content: bytes = converter.convert()
    return content


def _int8(converter: Any, stacks: NDArray[np.float32]) -> bytes:
    """Let the converter measure ranges and leave the rest to `to_mixed_int8`."""
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([stack[np.newaxis]] for stack in stacks)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter._experimental_calibrate_only = True  # what TensorFlow's QuantizationDebugger does
    with _quiet():
        return to_mixed_int8(converter.convert(), stacks)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converter's output off stdout, and its warnings from being raised as errors.

    Under ``-W error`` its conversion over a SavedModel fails. It then silently converts concrete
    functions instead.
    """
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _checked(
    representative: NDArray[np.float32] | None, shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Return the representative stacks as float32, if they fit."""
    if representative is None or not len(representative) or representative.shape[1:] != shape:
        got = None if representative is None else representative.shape
        raise UsageError(f"int8 needs representative stacks of shape (n, {shape}), got {got}")
    return representative.astype(np.float32, copy=False)
