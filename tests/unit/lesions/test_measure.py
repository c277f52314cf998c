"""Sizes worked out by hand, and what must not change them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cmbnet.lesions import axial_axis, label_components, measure_components, spacing_affine

SPACING = (2.0, 0.5, 0.5)


def labels_of(voxels: list[tuple[int, int, int]], label: int = 1) -> NDArray[np.int32]:
    labels = np.zeros((6, 12, 12), dtype=np.int32)
    for voxel in voxels:
        labels[voxel] = label
    return labels


def ball(spacing: tuple[float, float, float], radius_mm: float) -> NDArray[np.bool_]:
    half = [math.ceil(radius_mm / step) + 1 for step in spacing]
    axes = [np.arange(-n, n + 1) * step for n, step in zip(half, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.asarray(z**2 + y**2 + x**2 <= radius_mm**2)


@pytest.mark.parametrize(
    ("voxels", "volume", "diameter", "extent"),
    [
        # A pixel is as long as its side; 2 * 0.5 * 0.5 = 0.5 mm3 a voxel.
        pytest.param([(1, 1, 1)], 0.5, 0.5, 2.0, id="one voxel"),
        # Four in a row: 3 steps of 0.5 plus a pixel of 0.5.
        pytest.param([(1, 1, x) for x in range(4)], 2.0, 2.0, 2.0, id="row of 4"),
        # Three steps along the diagonal, each sqrt(0.5), plus 0.5.
        pytest.param(
            [(1, n, n) for n in range(4)], 2.0, 3 * math.sqrt(0.5) + 0.5, 2.0, id="diagonal of 4"
        ),
        # Through slices it does not grow in plane.
        pytest.param([(z, 1, 1) for z in range(3)], 1.5, 0.5, 6.0, id="column of 3 slices"),
        # The furthest pair lies in two slices: each slice alone counts.
        pytest.param([(1, 1, 1), (2, 1, 2)], 1.0, 0.5, 4.0, id="step between slices"),
        # The longest slice decides.
        pytest.param([(1, 1, 1), (2, 1, 1), (2, 1, 2)], 1.5, 1.0, 4.0, id="longest slice"),
        # A 3-4-5 triangle of pixel steps: 5 * 0.5 + 0.5; the pixels between do not matter.
        pytest.param([(0, 0, 0), (0, 3, 4)], 1.0, 3.0, 2.0, id="3-4-5"),
    ],
)
def test_sizes_by_hand(
    voxels: list[tuple[int, int, int]], volume: float, diameter: float, extent: float
) -> None:
    (component,) = measure_components(labels_of(voxels), spacing_affine(SPACING))
    assert component.voxels == len(voxels)
    assert component.volume_mm3 == pytest.approx(volume)
    assert component.max_in_plane_diameter_mm == pytest.approx(diameter)
    assert component.z_extent_mm == pytest.approx(extent)
    assert component.equivalent_diameter_mm == pytest.approx((6 * volume / math.pi) ** (1 / 3))


def test_pixels_that_are_not_square() -> None:
    affine = spacing_affine((2.0, 1.0, 0.5))
    along_x = measure_components(labels_of([(0, 0, 0), (0, 0, 1), (0, 0, 2)]), affine)[0]
    along_y = measure_components(labels_of([(0, 0, 0), (0, 1, 0), (0, 2, 0)]), affine)[0]
    one = measure_components(labels_of([(0, 0, 0)]), affine)[0]
    assert along_x.max_in_plane_diameter_mm == pytest.approx(1.5)
    assert along_y.max_in_plane_diameter_mm == pytest.approx(3.0)
    assert one.max_in_plane_diameter_mm == pytest.approx(1.0)


def test_places_by_hand() -> None:
    affine = spacing_affine(SPACING)
    affine[:3, 3] = (-10.0, 20.0, 30.0)
    (component,) = measure_components(labels_of([(1, 2, 3), (1, 2, 4)], label=7), affine)
    assert component.label == 7
    assert component.centroid_zyx == pytest.approx((1.0, 2.0, 3.5))
    # Right = x * 0.5 - 10, Anterior = y * 0.5 + 20, Superior = z * 2 + 30.
    assert component.centroid_ras_mm == pytest.approx((-8.25, 21.0, 32.0))
    assert component.bbox == ((1, 2), (2, 3), (3, 5))
    assert labels_of([(1, 2, 3), (1, 2, 4)])[component.box].tolist() == [[[1, 1]]]


def test_elongation_by_hand() -> None:
    # n voxels of side s in a row: variance s^2 (n^2 - 1) / 12 of the centres and s^2 / 12 of the
    # voxel itself, n^2 s^2 / 12 in all; across the row s^2 / 12: the ratio of lengths is n.
    affine = spacing_affine((0.5, 0.5, 0.5))
    (row,) = measure_components(labels_of([(0, 0, x) for x in range(7)]), affine)
    assert row.elongation == pytest.approx(7.0)
    assert row.axes_mm == pytest.approx(
        (7 * 0.5 * math.sqrt(20 / 12),) + (0.5 * math.sqrt(20 / 12),) * 2
    )
    (cube,) = measure_components(np.ones((3, 3, 3), np.int32), affine)
    assert cube.elongation == pytest.approx(1.0)


@pytest.mark.parametrize("diameter_mm", [3.0, 4.0, 6.0, 9.0])
def test_a_fine_ball_measures_its_diameter(diameter_mm: float) -> None:
    mask = ball((0.25, 0.25, 0.25), diameter_mm / 2)
    (component,) = measure_components(mask.astype(np.int32), spacing_affine((0.25, 0.25, 0.25)))
    assert component.max_in_plane_diameter_mm == pytest.approx(diameter_mm, abs=0.26)
    assert component.equivalent_diameter_mm == pytest.approx(diameter_mm, abs=0.1)
    assert component.axes_mm == pytest.approx((diameter_mm,) * 3, abs=0.1)


def test_labels_with_gaps_keep_their_values() -> None:
    labels = labels_of([(0, 0, 0)], label=9) + labels_of([(3, 3, 3)], label=4)
    assert [c.label for c in measure_components(labels, spacing_affine(SPACING))] == [4, 9]


def test_interleaved_components_are_kept_apart() -> None:
    labels = labels_of([(1, 1, 0), (1, 1, 4)], label=1) + labels_of([(1, 1, 2)], label=2)
    first, second = measure_components(labels, spacing_affine(SPACING))
    assert first.max_in_plane_diameter_mm == pytest.approx(2.5)
    assert second.max_in_plane_diameter_mm == pytest.approx(0.5)


def test_nothing_measures_nothing() -> None:
    assert measure_components(np.zeros((2, 2, 2), np.uint16), np.eye(4)) == ()


@pytest.mark.parametrize(
    "labels", [np.zeros((2, 2), int), np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2))]
)
def test_what_is_no_label_array_is_refused(labels: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="integer labels is required, got shape"):
        measure_components(labels, np.eye(4))


def test_sizes_and_places_are_the_same_in_all_48_orientations() -> None:
    rng = np.random.default_rng(5)
    labels, _ = label_components(rng.random((5, 7, 9)) < 0.08)
    affine = spacing_affine((3.0, 0.6, 0.5))
    expected = _by_place(labels, affine)
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            turned, turned_affine = _turn(labels, affine, order, flips)
            assert axial_axis(turned_affine) == order.index(0)
            assert _by_place(turned, turned_affine) == expected


def _turn(
    labels: NDArray[np.int32],
    affine: NDArray[np.float64],
    order: tuple[int, ...],
    flips: tuple[bool, ...],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    turned = labels.transpose(order)
    new = affine[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            new[:, 3] += new[:, axis] * (turned.shape[axis] - 1)
            new[:, axis] *= -1
            turned = np.flip(turned, axis)
    return turned, new


def _by_place(labels: NDArray[np.int32], affine: NDArray[np.float64]) -> list[tuple[float, ...]]:
    return sorted(
        tuple(
            round(value, 6) + 0.0
            for value in (
                *c.centroid_ras_mm,
                c.volume_mm3,
                c.max_in_plane_diameter_mm,
                c.z_extent_mm,
                c.elongation,
            )
        )
        for c in measure_components(labels, affine)
    )


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=20))
def test_diameter_equals_the_search_over_all_pairs(pixels: list[tuple[int, int]]) -> None:
    labels = labels_of([(2, *pixel) for pixel in pixels])
    (component,) = measure_components(labels, spacing_affine((2.0, 0.5, 0.5)))
    longest = max(math.dist(a, b) for a in pixels for b in pixels) * 0.5 + 0.5
    assert component.max_in_plane_diameter_mm == pytest.approx(longest)
