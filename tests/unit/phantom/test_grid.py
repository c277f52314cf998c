from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cmbnet.phantom.grid import Grid, resample, sample

SOURCE = Grid((7, 9, 8), (-3.0, -4.0, 1.0), (1.0, 1.5, 2.0))


@given(
    st.tuples(*[st.floats(0.3, 3.0)] * 3),
    st.tuples(*[st.floats(-4.0, 4.0)] * 3),
    st.integers(0, 2**31),
)
@settings(max_examples=25)
def test_resampling_is_linear_interpolation(
    spacing: tuple[float, float, float], origin: tuple[float, float, float], seed: int
) -> None:
    values = np.random.default_rng(seed).standard_normal(SOURCE.shape).astype(np.float32)
    target = Grid((5, 6, 4), origin, spacing)
    points = target.points_of(np.moveaxis(np.indices(target.shape), 0, -1).reshape(-1, 3))
    expected = ndimage.map_coordinates(
        values, SOURCE.index_of(points).T, order=1, mode="nearest"
    ).reshape(target.shape)
    np.testing.assert_allclose(resample(values, SOURCE, target), expected, atol=1e-3)


def test_outside_gets_the_value_asked_for() -> None:
    values = np.ones(SOURCE.shape, np.uint8)
    target = Grid((3, 1, 1), (-20.0, -4.0, 1.0), (20.0, 1.0, 1.0))
    assert resample(values, SOURCE, target, outside=0.0).ravel().tolist() == [0, 1, 0]
    assert resample(values, SOURCE, target).ravel().tolist() == [1, 1, 1]


@given(st.tuples(*[st.floats(-50, 50)] * 3))
def test_positions_and_indices_are_inverse(point: tuple[float, float, float]) -> None:
    back = SOURCE.points_of(SOURCE.index_of(np.array([point])))
    np.testing.assert_allclose(back, [point], atol=1e-4)


def test_sampling_gives_back_a_plane() -> None:
    z, y, x = SOURCE.axes_mm()
    plane = (2 * z - y + 0.5 * x).astype(np.float32)
    value = sample(plane, SOURCE, np.array([[0.2, 1.3, 4.4]]))[0]
    assert value == pytest.approx(0.4 - 1.3 + 2.2, abs=1e-5)
