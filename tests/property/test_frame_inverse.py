"""What goes into the frame comes back to where it was, for every grid."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cmbnet.preprocess import PreprocessRecipe
from cmbnet.preprocess.frame import FrameTransform, fit_frame
from cmbnet.preprocess.orientation import Orientation, closest_orientation

ORIENTATIONS = [
    Orientation((a[0], a[1], a[2]), (f[0], f[1], f[2]))
    for a in permutations(range(3))
    for f in product((False, True), repeat=3)
]
pixels = st.floats(0.25, 2.5).map(lambda mm: round(mm, 3))


@st.composite
def transforms(draw: st.DrawFn) -> FrameTransform:
    """A frame that may be larger or smaller than the scan, anywhere near its middle."""
    orientation = draw(st.sampled_from(ORIENTATIONS))
    canonical = [draw(st.integers(3, 24)) for _ in range(3)]
    native = [0, 0, 0]
    for axis, n in zip(orientation.axes, canonical, strict=True):
        native[axis] = n
    recipe = PreprocessRecipe(
        frame=draw(st.sampled_from(["physical", "paper"])), size=draw(st.integers(8, 40))
    )
    centre = [draw(st.floats(0, n - 1)) for n in canonical[1:]]
    return fit_frame(
        recipe,
        orientation,
        (native[0], native[1], native[2]),
        (2.0, draw(pixels), draw(pixels)),
        (centre[0], centre[1]),
    )


def covered(transform: FrameTransform) -> np.ndarray:
    """Native voxels whose nearest frame pixel exists."""
    return transform.to_native(np.ones(transform.shape, np.uint8)) > 0


@settings(max_examples=150)
@given(transforms(), st.integers(0, 2**32 - 1))
def test_labels_come_back(transform: FrameTransform, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(transform.native_shape) < 0.2) * rng.integers(1, 9, transform.native_shape)
    again = transform.to_native(transform.from_native(labels))
    inside = covered(transform)
    if max(transform.y.step, transform.x.step) <= 1.0:
        np.testing.assert_array_equal(again[inside], labels[inside])
    # Never less than was there; where frame pixels are larger, a neighbour's larger label.
    assert (again[inside] >= labels[inside]).all()
    assert not again[~inside].any()
    assert set(np.unique(again)) <= set(np.unique(labels)) | {0}


@settings(max_examples=150)
@given(transforms(), st.data())
def test_one_voxel_lesion_is_found_where_it_was(
    transform: FrameTransform, data: st.DataObject
) -> None:
    inside = np.argwhere(covered(transform))
    if len(inside) == 0:
        return
    voxel = tuple(inside[data.draw(st.integers(0, len(inside) - 1))])
    lesion = np.zeros(transform.native_shape, np.bool_)
    lesion[voxel] = True
    again = np.argwhere(transform.to_native(transform.from_native(lesion)))
    assert voxel in {tuple(index) for index in again}
    # It grows to no more than the native voxels of its one frame pixel.
    reach = max(transform.y.step, transform.x.step)
    assert np.abs(again - voxel).max() <= max(0.0, reach)


@settings(max_examples=100)
@given(transforms(), st.floats(0.1, 1.0))
def test_constant_probability_comes_back(transform: FrameTransform, level: float) -> None:
    frame = np.full(transform.shape, level, np.float32)
    again = transform.to_native(frame, order=1)
    inside = covered(transform)
    np.testing.assert_allclose(again[inside], level, rtol=1e-5)
    assert again.min() >= 0
    assert again.max() <= level * (1 + 1e-5)


@settings(max_examples=100)
@given(transforms())
def test_linear_ramp_survives_both_ways(transform: FrameTransform) -> None:
    """Order 1 is exact on a ramp wherever no border is near."""
    rows, columns = transform.y, transform.x
    if max(rows.step, columns.step) >= transform.antialias_from:
        return
    n = tuple(transform.native_shape[axis] for axis in transform.orientation.axes)
    y, x = np.meshgrid(np.arange(n[1]), np.arange(n[2]), indexing="ij")
    ramp = np.broadcast_to((y + 0.5 * x + 1).astype(np.float32), n)
    native = np.ascontiguousarray(transform.orientation.invert(ramp))
    framed = transform.image_from_native(native)
    again = transform.orientation.apply(transform.to_native(framed, order=1))
    safe_y = _safe(rows.frame_positions(), rows.canonical_positions(), n[1])
    safe_x = _safe(columns.frame_positions(), columns.canonical_positions(), n[2])
    expected = ramp[:, safe_y][:, :, safe_x]
    np.testing.assert_allclose(again[:, safe_y][:, :, safe_x], expected, rtol=1e-4)


def _safe(in_frame: np.ndarray, in_scan: np.ndarray, n: int) -> np.ndarray:
    """Canonical voxels between two frame pixels that both lie between two voxels."""
    good = (in_scan >= 0) & (in_scan <= n - 1)
    low, high = np.floor(in_frame).astype(int), np.ceil(in_frame).astype(int)
    inside = (low >= 0) & (high < len(good))
    result = np.zeros(len(in_frame), bool)
    result[inside] = good[low[inside]] & good[high[inside]]
    return result


@settings(max_examples=100)
@given(
    st.sampled_from(ORIENTATIONS), st.tuples(*[st.integers(1, 6)] * 3), st.integers(0, 2**32 - 1)
)
def test_orientation_inverts(
    orientation: Orientation, shape: tuple[int, int, int], seed: int
) -> None:
    array = np.random.default_rng(seed).integers(0, 100, shape)
    np.testing.assert_array_equal(orientation.invert(orientation.apply(array)), array)
    np.testing.assert_array_equal(
        orientation.apply(orientation.invert(orientation.apply(array))), orientation.apply(array)
    )


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_closest_orientation_makes_any_rotation_nearly_straight(seed: int) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * [2.0, 0.5, 0.7]
    orientation = closest_orientation(affine)
    placed = orientation.affine(affine, (4, 5, 6))[:3, :3]
    directions = placed / np.linalg.norm(placed, axis=0)
    diagonal = np.array([directions[2, 0], directions[1, 1], directions[0, 2]])
    assert (diagonal > 0).all()
    # No other exchange of axes is closer.
    for other in ORIENTATIONS:
        turned = other.affine(affine, (4, 5, 6))[:3, :3]
        turned = turned / np.linalg.norm(turned, axis=0)
        assert diagonal.sum() >= turned[2, 0] + turned[1, 1] + turned[0, 2] - 1e-5
