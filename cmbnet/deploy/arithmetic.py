"""The arithmetic that a network needs, and that this machine can do: a bound for any backend."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

MATRIX = 1536
"""Side of the matrices that measure the machine. They take 27 MB, far more than the caches."""

REPEATS = 5


def multiply_adds(model: Any) -> int:
    """Count the multiply-adds of all convolutions for one slice.

    The Keras model has a fixed input size. Return the sum over convolutions of output pixels x
    output channels x kernel x input channels.
    """
    import keras

    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            rows, columns = layer.kernel_size
            pixels = math.prod(layer.output.shape[1:3])
            total += pixels * layer.filters * rows * columns * layer.input.shape[-1]
    return total


def peak_operations_per_s(side: int = MATRIX, repeats: int = REPEATS) -> float:
    """Measure the floating-point operations per second of a large float32 matrix product.

    The matrices are square. The fastest run counts, because others use the machine too.
    """
    rng = np.random.default_rng(0)
    first, second = (rng.random((side, side), np.float32) for _ in range(2))
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        np.matmul(first, second)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
