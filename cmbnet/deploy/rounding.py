"""Weights in 8 bits, rounded so that a layer's answers, not its weights, are nearest.

The method of Frantar et al. 2022 (GPTQ), which is optimal brain surgeon one weight at a time: what
rounding a weight adds to the answers is taken off by the weights that are still free. Neighbouring
pixels are alike, so that much can be taken off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST = 127
"""Weights are symmetric, -127 to 127."""

DAMPING = 0.01
"""Of the mean input power, added to each input's: inputs that never vary stay solvable."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """Weights as they are stored.

    Args:
        values: int8 (outputs, inputs).
        scales: float32 (outputs,); weights are values times scales.
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]

    @property
    def weights(self) -> NDArray[np.float32]:
        """float32 (outputs, inputs)."""
        return self.values.astype(np.float32) * self.scales[:, np.newaxis]


def round_weights(weights: NDArray[np.float32], power: NDArray[np.float64]) -> Rounded:
    """Round a layer's weights.

    The largest weight of each output stays where it is, at the end of the range, so that whoever
    chooses a scale anew chooses the same.

    Args:
        weights: (outputs, inputs).
        power: (inputs, inputs), the mean of the products of two inputs.
    """
    scales = np.abs(weights).max(axis=1) / LARGEST
    scales[scales == 0] = 1.0
    order = np.argsort(-np.diag(power))  # the strongest first, while all others are free
    free = (weights / scales[:, np.newaxis]).astype(np.float64)[:, order]
    values = np.empty_like(free)
    for n, row in enumerate(_remedies(power[np.ix_(order, order)])):
        values[:, n] = np.clip(np.rint(free[:, n]), -LARGEST, LARGEST)
        free[:, n + 1 :] -= np.outer((free[:, n] - values[:, n]) / row[n], row[n + 1 :])
    stored = np.empty(weights.shape, np.int8)
    stored[:, order] = values
    outputs, largest = np.arange(len(weights)), np.abs(weights).argmax(axis=1)
    stored[outputs, largest] = LARGEST * np.sign(weights[outputs, largest])
    return Rounded(stored, scales.astype(np.float32))


def _remedies(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper Cholesky factor of the inverse: row n says how later inputs make up for input n."""
    damped = power + np.eye(len(power)) * (DAMPING * np.trace(power) / len(power) + 1e-12)
    factor: NDArray[np.float64] = np.linalg.cholesky(np.linalg.inv(damped)).T
    return factor
