"""Weights are rounded so that the answers are near, and stay on the grid that others choose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cmbnet.deploy.rounding import LARGEST, round_weights


def layer(seed: int, alike: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Weights (8, 27), and inputs (400, 27) that have a share in common."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(400, 27)) + alike * random.normal(size=(400, 1))
    return random.normal(size=(8, 27)).astype(np.float32), inputs


def nearest(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    scales = np.abs(weights).max(axis=1, keepdims=True) / LARGEST
    return np.asarray(np.rint(weights / scales) * scales, np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_nearer_than_with_the_nearest_weights(seed: int) -> None:
    weights, inputs = layer(seed, alike=5.0)
    rounded = round_weights(weights, inputs.T @ inputs / len(inputs)).weights
    errors = [((inputs @ (w - weights).T) ** 2).mean() for w in (rounded, nearest(weights))]
    assert errors[0] < 0.5 * errors[1]


def test_inputs_that_have_nothing_in_common_leave_nothing_to_gain() -> None:
    weights, _ = layer(0, alike=0.0)
    rounded = round_weights(weights, np.eye(27)).weights
    np.testing.assert_allclose(rounded, nearest(weights), atol=1e-6)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), alike=st.floats(0, 10))
def test_the_scale_of_the_rounded_is_the_scale_of_the_exact(seed: int, alike: float) -> None:
    """A converter that looks for the largest weight of each output finds the same grid."""
    weights, inputs = layer(seed, alike)
    rounded = round_weights(weights, inputs.T @ inputs)
    np.testing.assert_allclose(
        np.abs(rounded.weights).max(axis=1), np.abs(weights).max(axis=1), rtol=1e-6
    )
    again = round_weights(rounded.weights, np.eye(27))
    np.testing.assert_array_equal(again.values, rounded.values)


def test_dead_outputs_and_dead_inputs_stay_dead() -> None:
    weights, inputs = layer(1, alike=1.0)
    weights[2] = 0.0
    inputs[:, 5] = 0.0
    rounded = round_weights(weights, inputs.T @ inputs)
    assert np.isfinite(rounded.weights).all()
    assert not rounded.weights[2].any()
