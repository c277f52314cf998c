"""Observe the inputs of convolutions, and fit 8-bit weights to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from cmbnet.deploy.rounding import Rounded, round_weights

POSSIBLE = 0.02
"""Smallest probability of a possible lesion."""

NEAR_PIXELS = 8
"""Distance from possible lesions within which most inputs are taken."""

POSITIONS_NEAR, POSITIONS_ANYWHERE = 400, 150
"""Numbers of positions per stack at which a layer's inputs are taken."""

Activations = tuple[Callable[[Any], NDArray[np.float32]], NDArray[np.float32]]
"""A function from a tensor's number or name to its value (y, x, channels), and the probability."""


@dataclass(frozen=True, slots=True)
class ConvolutionInput:
    """The input of a convolution with padding "same"."""

    source: int | str  # Number or name of the input tensor in the runtime
    kernel: tuple[int, int, int]  # Rows, columns and channels of the kernel
    stride: int  # Stride in pixels


@dataclass(slots=True)
class Inputs:
    """Sums over the inputs of a convolution, flattened as its weights are."""

    power: NDArray[np.float64]  # Sums of the products of two inputs, (inputs, inputs)
    total: NDArray[np.float64]  # Sum of each input, (inputs,)
    count: int = 0  # Number of added rows

    def add(self, rows: NDArray[np.float64]) -> None:
        """Add inputs, one per row."""
        self.power += rows.T @ rows
        self.total += rows.sum(axis=0)
        self.count += len(rows)


def observe(
    layers: Mapping[str, ConvolutionInput], activations: Iterable[Activations]
) -> dict[str, Inputs]:
    """Sum up the inputs of convolutions while a network runs.

    The result has the names of `layers`.
    """
    sizes = {name: int(np.prod(layer.kernel)) for name, layer in layers.items()}
    seen = {name: Inputs(np.zeros((n, n)), np.zeros(n)) for name, n in sizes.items()}
    random = np.random.default_rng(0)
    for tensor, probability in activations:
        near = maximum_filter(probability > POSSIBLE, 2 * NEAR_PIXELS + 1)
        for name, layer in layers.items():
            image = tensor(layer.source)
            step = len(near) // -(-len(image) // layer.stride)
            at = _positions(near[::step, ::step], random)
            rows = patches(image, layer.kernel[:2], layer.stride, at)
            seen[name].add(rows.astype(np.float64))
    return seen


def fit_kernel(kernel: NDArray[np.float32], inputs: Inputs) -> tuple[Rounded, NDArray[np.float32]]:
    """Round the weights of a convolution, fitted to its inputs.

    The kernel is (outputs, rows, columns, channels). Return weights (outputs, all others), and the
    mean change of each output by rounding.
    """
    exact = kernel.reshape(len(kernel), -1)
    rounded = round_weights(exact, inputs.power / inputs.count)
    added = (rounded.weights - exact) @ (inputs.total / inputs.count)
    return rounded, added.astype(np.float32)


def _positions(near: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.intp]:
    """Draw positions (n, 2), most of them near possible lesions."""
    anywhere = random.integers(0, near.shape, (POSITIONS_ANYWHERE, 2))
    close = np.argwhere(near)
    chosen = random.choice(len(close), min(len(close), POSITIONS_NEAR), replace=False)
    return np.concatenate([close[chosen], anywhere])


def patches(
    image: NDArray[np.float32], kernel: tuple[int, ...], stride: int, at: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the inputs that a convolution with padding "same" reads for some outputs.

    The image is (y, x, channels), `at` are rows and columns of outputs, (n, 2). Return (n, rows *
    columns * channels), zero outside the image.

    Examples:
        >>> patches(np.arange(9.0).reshape(3, 3, 1), (1, 3), 1, np.array([[1, 0]]))
        array([[0., 3., 4.]])
    """
    padded = np.pad(image, ((kernel[0],) * 2, (kernel[1],) * 2, (0, 0)))
    reads = []
    for axis in range(2):
        answers = -(-image.shape[axis] // stride)
        before = max((answers - 1) * stride + kernel[axis] - image.shape[axis], 0) // 2
        first = at[:, axis] * stride - before + kernel[axis]
        reads.append(first[:, np.newaxis] + np.arange(kernel[axis]))
    rows, columns = reads
    read: NDArray[np.float32] = padded[rows[:, :, np.newaxis], columns[:, np.newaxis]]
    return read.reshape(len(at), -1)
