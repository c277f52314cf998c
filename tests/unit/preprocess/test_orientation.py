from itertools import permutations, product

import numpy as np
import pytest

from cmbnet.preprocess.orientation import Orientation, closest_orientation

ALL = [
    Orientation((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))
    for axes in permutations(range(3))
    for flips in product((False, True), repeat=3)
]


def native_affine(orientation: Orientation, tilt_degrees: float = 0.0) -> np.ndarray:
    """Affine of a native grid that the orientation makes canonical, tilted about Right."""
    world_of = {0: 2, 1: 1, 2: 0}  # z to S, y to A, x to R
    affine = np.eye(4)
    affine[:3, :3] = 0
    for canonical, (native, flip) in enumerate(
        zip(orientation.axes, orientation.flips, strict=True)
    ):
        affine[world_of[canonical], native] = (-1.0 if flip else 1.0) * (2.0, 0.5, 0.7)[canonical]
    angle = np.radians(tilt_degrees)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = 3, 4, 5
    return affine


@pytest.mark.parametrize("tilt", [0.0, 30.0, -40.0])
@pytest.mark.parametrize("orientation", ALL, ids=str)
def test_all_48_are_recognised_inverted_and_placed(orientation: Orientation, tilt: float) -> None:
    affine = native_affine(orientation, tilt)
    assert closest_orientation(affine) == orientation

    native = np.arange(24).reshape(2, 3, 4)
    canonical = orientation.apply(native)
    np.testing.assert_array_equal(orientation.invert(canonical), native)

    # The same voxel is the same place in the world.
    placed = orientation.affine(affine, (2, 3, 4))
    for index in ((0, 0, 0), (1, 2, 3), (1, 0, 2)):
        value = native[index]
        there = np.argwhere(canonical == value)[0]
        np.testing.assert_allclose(placed @ [*there, 1], affine @ [*index, 1])
    # Each canonical axis runs along its world axis.
    assert (np.array([placed[2, 0], placed[1, 1], placed[0, 2]]) > 0).all()


def test_of_equals_the_one_that_moves_fewer_axes() -> None:
    tilted = native_affine(Orientation((0, 1, 2), (False, False, False)), 45.0)
    tilted[:3, 0] /= np.linalg.norm(tilted[:3, 0])
    tilted[:3, 1] /= np.linalg.norm(tilted[:3, 1])
    assert closest_orientation(tilted).axes == (0, 1, 2)


def test_apply_and_invert_copy_nothing() -> None:
    native = np.zeros((2, 3, 4))
    for orientation in ALL:
        assert np.shares_memory(orientation.apply(native), native)
        assert np.shares_memory(orientation.invert(orientation.apply(native)), native)
