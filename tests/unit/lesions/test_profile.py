"""What lies around a candidate, on drawn scans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.lesions.profile import MEASURES, _interpolation, _sampled, profile
from cmbnet.volume import Volume

SHAPE = (25, 61, 61)
SPACING_MM = (1.5, 0.6, 0.6)
"""As the surroundings are sampled, but for half a pixel along y and x."""
MIDDLE = (12, 30, 30)
BBOX = tuple((n, n + 1) for n in MIDDLE)


def scan() -> NDArray[np.float32]:
    """Brain of 500."""
    return np.full(SHAPE, 500.0, np.float32)


def volume(data: NDArray[np.float32], spacing: tuple[float, ...] = SPACING_MM) -> Volume:
    z, y, x = spacing
    affine = np.array([[0, 0, x, 0], [0, y, 0, 0], [z, 0, 0, 0], [0, 0, 0, 1.0]])
    return Volume(data, affine, "drawn")


def measured(data: NDArray[np.float32], brain: NDArray[np.bool_] | None = None) -> dict[str, float]:
    return dict(zip(MEASURES, profile(volume(data), BBOX, brain), strict=True))


def disc(data: NDArray[np.float32], radius: float, at: tuple[int, ...], value: float) -> None:
    """In one slice."""
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    data[at[0]][np.hypot(y - at[1], x - at[2]) <= radius] = value


def test_a_dot_is_dark_in_the_middle_alone() -> None:
    data = scan()
    disc(data, 2.5, MIDDLE, 100.0)
    known = measured(data)
    assert known.pop("log_slice_mm") == pytest.approx(np.log(1.5))
    assert known.pop("log_pixel_mm") == pytest.approx(np.log(0.6))
    assert known.pop("spread") == 0.0
    assert known.pop("darkest") == pytest.approx(0.2)
    core, edge = (known.pop(f"ring_to_{outer}_mm_0_mm_away") for outer in ("0.9", "1.8"))
    assert core == pytest.approx(0.2)
    assert core < edge < 1.0  # it reaches 1.5 mm
    assert known == pytest.approx(dict.fromkeys(known, 1.0))


def test_a_straight_vein_goes_on_to_one_side() -> None:
    data = scan()
    for z in range(12, 17):
        disc(data, 2.5, (z, 30, 30), 250.0)
    known = measured(data)
    for part in ("core", "tube"):
        for mm in ("3", "4.5", "6"):  # up to 4 slices of 1.5 mm
            assert known[f"{part}_{mm}_mm_darker"] == pytest.approx(0.5)
            assert known[f"{part}_{mm}_mm_lighter"] == pytest.approx(1.0)
        assert known[f"{part}_9_mm_darker"] == pytest.approx(1.0)


def test_a_leaning_vein_leaves_the_core_and_stays_in_the_tube() -> None:
    data = scan()
    for away in range(-3, 4):
        disc(data, 1.5, (12 + away, 30, 30 + 2 * away), 250.0)  # 1.2 mm a slice
    known = measured(data)
    assert known["core_3_mm_darker"] == pytest.approx(1.0)
    assert known["tube_3_mm_darker"] == known["tube_3_mm_lighter"] == pytest.approx(0.5)
    assert known["tube_6_mm_darker"] == pytest.approx(1.0)


def test_a_vein_in_the_slice_is_dark_in_two_directions() -> None:
    data = scan()
    data[12, 28:33] = 100.0  # 3 mm wide, through the whole slice
    known = measured(data)
    assert known["sector_1"] < known["sector_2"] + 1e-6 < 0.8
    assert known["sector_8"] > 0.95


def test_rings_are_means_over_both_sides() -> None:
    """From 2.7 to 3.6 mm away, and in the slice above, 3 mm away, everywhere."""
    data = scan()
    y, x = (np.mgrid[: SHAPE[1], : SHAPE[2]] - 30.0) * 0.6
    # Samples lie half a pixel beside the pixels: only the middle of a wide ring is pure.
    data[12][(np.hypot(y, x) > 2.2) & (np.hypot(y, x) < 4.1)] = 250.0
    data[14] = 300.0
    known = measured(data)
    assert known["ring_to_3.6_mm_0_mm_away"] == pytest.approx(0.5)
    for outer in ("0.9", "1.8", "7"):
        assert known[f"ring_to_{outer}_mm_0_mm_away"] == pytest.approx(1.0)
    for outer in ("0.9", "1.8", "2.7", "3.6", "5", "7"):
        assert known[f"ring_to_{outer}_mm_3_mm_away"] == pytest.approx((1 + 0.6) / 2)
        assert known[f"ring_to_{outer}_mm_4.5_mm_away"] == pytest.approx(1.0)


def test_outside_the_scan_it_is_dark_and_no_brain() -> None:
    first = ((0, 1), *BBOX[1:])
    known = dict(zip(MEASURES, profile(volume(scan()), first, None), strict=True))
    assert known["core_3_mm_darker"] == 0.0
    assert known["core_3_mm_lighter"] == pytest.approx(1.0)
    assert known["brain_around"] == pytest.approx(7 / 13)
    corner = tuple((0, 1) for _ in SHAPE)
    assert profile(volume(scan()), corner, None)[-1] < 0.2


def test_the_edge_of_the_scan_does_not_depend_on_rounding() -> None:
    """A candidate 3 mm below the last slice, as another tool may have written it."""
    below = ((SHAPE[0] - 3, SHAPE[0] - 2), *BBOX[1:])
    exact, rounded = (
        profile(volume(scan(), (mm, 0.6, 0.6)), below, None) for mm in (1.5, 1.4999999)
    )
    assert rounded == pytest.approx(exact, abs=1e-5)


def test_the_pixel_counts_along_both_of_its_sides() -> None:
    for spacing in ((1.5, 0.6, 0.9), (1.5, 0.9, 0.6)):
        known = dict(zip(MEASURES, profile(volume(scan(), spacing), BBOX, None), strict=True))
        assert known["log_pixel_mm"] == pytest.approx(np.log(0.54) / 2)


def test_brightness_is_that_of_brain_not_of_what_lies_outside() -> None:
    data = scan()
    brain = np.zeros(SHAPE, bool)
    brain[:, :30] = True
    data[:, 30:] = 4000.0
    assert measured(data, brain)["sector_1"] == pytest.approx(1.0)
    assert measured(data, brain)["sector_8"] == 2.5
    assert measured(data, brain)["brain_near"] == pytest.approx(0.5, abs=0.1)


def test_without_brain_nothing_is_divided_by_zero() -> None:
    for data, brain in ((scan(), np.zeros(SHAPE, bool)), (np.zeros(SHAPE, np.float32), None)):
        assert np.isfinite(list(measured(data, brain).values())).all()


def test_the_spread_is_that_of_the_noise() -> None:
    noise = np.random.default_rng(1).normal(0, 50, SHAPE).astype(np.float32)
    assert measured(scan() + noise)["spread"] == pytest.approx(0.1, rel=0.1)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    start=st.tuples(*(st.integers(-32, 32).map(lambda n: n / 8),) * 3),
    step=st.integers(1, 16).map(lambda n: n / 8),
)
def test_values_between_voxels_are_those_of_scipy(
    shape: tuple[int, int, int], start: tuple[float, float, float], step: float
) -> None:
    values = np.random.default_rng(3).random(shape).astype(np.float32)
    places = [np.array([first + step * n for n in range(6)], np.float64) for first in start]
    grid = [_interpolation(at, size) for at, size in zip(places, shape, strict=True)]
    at = np.meshgrid(*places, indexing="ij")
    expected = ndimage.map_coordinates(values, at, order=1, mode="constant")
    assert _sampled(values, grid) == pytest.approx(expected, abs=1e-5)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 1000),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    swap=st.booleans(),
    gain=st.floats(0.1, 50),
)
def test_flips_quarter_turns_and_units_change_nothing(
    seed: int, flips: tuple[bool, bool, bool], swap: bool, gain: float
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.uniform(100, 1000, SHAPE).astype(np.float32)
    brain = rng.random(SHAPE) < 0.8
    axes = tuple(n for n, flip in enumerate(flips) if flip)

    def turned(array: NDArray[Any]) -> NDArray[Any]:
        array = np.flip(array, axes)
        return np.swapaxes(array, 1, 2) if swap else array

    before = profile(volume(data), BBOX, brain)
    after = profile(volume(turned(data) * np.float32(gain)), BBOX, turned(brain))
    assert after == pytest.approx(before, abs=1e-3)


def test_slices_along_another_axis_are_found() -> None:
    rng = np.random.default_rng(2)
    data = rng.uniform(100, 1000, SHAPE).astype(np.float32)
    turned = Volume(np.moveaxis(data, 0, 2), volume(data).affine[:, [1, 2, 0, 3]], "turned")
    bbox = (BBOX[1], BBOX[2], BBOX[0])
    assert profile(turned, bbox, None) == pytest.approx(profile(volume(data), BBOX, None), abs=1e-4)
