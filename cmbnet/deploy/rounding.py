"""Round weights to 8 bits so that a layer's outputs, not its weights, are nearest.

This is the method of Frantar et al. 2022 (GPTQ). It rounds one weight after the other, and the
weights that are still free compensate for the change of the outputs. Neighbouring pixels are alike,
so much of it can be compensated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST = 127
"""Largest value. Weights are symmetric, -127 to 127."""

DAMPING = 0.01
"""Share of the mean input power that is added to each, so that constant inputs stay solvable."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """Rounded weights."""

    values: NDArray[np.int8]  # Stored values, int8 (outputs, inputs)
    scales: NDArray[np.float32]  # Scales, float32 (outputs,). Weights are values times scales.

    @property
    def weights(self) -> NDArray[np.float32]:
        """Return the weights, float32 (outputs, inputs)."""
        return self.values.astype(np.float32) * self.scales[:, np.newaxis]


def round_weights(weights: NDArray[np.float32], power: NDArray[np.float64]) -> Rounded:
    """Round a layer's weights.

    The largest weight of each output stays at the end of the range, so that a quantiser that
    chooses scales again chooses the same ones.
    Weights are (outputs, inputs). `power` is the means of the products of two inputs.
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
    """Return the upper Cholesky factor of the inverse. Row n compensates for input n."""
    damped = power + np.eye(len(power)) * (DAMPING * np.trace(power) / len(power) + 1e-12)
    factor: NDArray[np.float64] = np.linalg.cholesky(np.linalg.inv(damped)).T
    return factor
