from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmbnet.lesions import measure_components, spacing_affine
from cmbnet.training.data.specs.model import RegionTarget
from cmbnet.training.data.specs.region import grow_region
from cmbnet.volume import Volume

SPACING_MM = (1.5, 0.6, 0.6)
SHAPE = (17, 60, 60)
TARGET = RegionTarget()


def distance_mm(centre: tuple[float, float, float]) -> np.ndarray:
    grid = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.asarray(np.linalg.norm((grid - np.array(centre)) * SPACING_MM, axis=-1))


def scan(dark: np.ndarray) -> Volume:
    return Volume(np.where(dark, 30.0, 100.0).astype(np.float32), spacing_affine(SPACING_MM))


def whole(image: Volume, region_box: tuple[slice, ...], part: np.ndarray) -> np.ndarray:
    mask = np.zeros(image.shape, bool)
    mask[region_box] = part
    return mask


@pytest.mark.parametrize("diameter_mm", [2.4, 4.0, 7.0, 9.0])
def test_a_sharp_ball_is_found_voxel_by_voxel(diameter_mm: float) -> None:
    ball = distance_mm((8, 30, 30)) <= diameter_mm / 2
    image = scan(ball)
    region = grow_region(image, (8.0, 31.0, 29.0), TARGET)
    assert region.reason == ""
    np.testing.assert_array_equal(whole(image, region.box, region.lesion), ball)


def test_a_blurred_ball_ends_half_way_down() -> None:
    """A Gaussian dip exp(-d^2 / 2 s^2) is at half its depth at d = s * sqrt(2 ln 2)."""
    sigma_mm = 2.0
    dip = np.exp(-(distance_mm((8, 30, 30)) ** 2) / (2 * sigma_mm**2))
    image = Volume((100.0 - 80.0 * dip).astype(np.float32), spacing_affine(SPACING_MM))
    region = grow_region(image, (8.0, 30.0, 30.0), TARGET)
    half = distance_mm((8, 30, 30)) <= sigma_mm * np.sqrt(2 * np.log(2))
    found = whole(image, region.box, region.lesion)
    # The surround, 5 to 8 mm away, is not quite 100: voxels on the border may differ.
    assert np.count_nonzero(found ^ half) <= 0.06 * np.count_nonzero(half)


def test_the_shell_around_it_is_ignored() -> None:
    ball = distance_mm((8, 30, 30)) <= 2.0
    image = scan(ball)
    region = grow_region(image, (8.0, 30.0, 30.0), TARGET)
    ignored = whole(image, region.box, region.ignore)
    assert not np.any(ignored & ball)
    assert ignored[8, 30, 34]  # 0.6 mm beyond the last voxel of the ball
    assert not ignored[8, 30, 37]


def test_a_vein_is_ignored_not_learned() -> None:
    vein = np.zeros(SHAPE, bool)
    vein[8, 29:32, :] = True
    region = grow_region(scan(vein), (8.0, 30.0, 30.0), TARGET)
    assert region.reason == "larger than 10 mm"
    assert not region.lesion.any()
    assert region.ignore.any()


def test_a_vein_through_the_slices_is_ignored() -> None:
    vein = np.zeros(SHAPE, bool)
    vein[:, 29:32, 29:32] = True
    assert grow_region(scan(vein), (8.0, 30.0, 30.0), TARGET).reason == "larger than 10 mm"


def test_a_place_that_is_not_dark_is_no_lesion() -> None:
    region = grow_region(scan(np.zeros(SHAPE, bool)), (8.0, 30.0, 30.0), TARGET)
    assert region.reason == "no dark spot"
    assert not region.lesion.any()


def test_a_stripped_skull_is_no_surround() -> None:
    """A lesion in a strip of brain 8.4 mm wide: most of the shell around it is 0."""
    ball = distance_mm((8, 30, 30)) <= 2.0
    image = scan(ball)
    for edge in (slice(0, 23), slice(38, 60)):
        image.data[:, :, edge] = image.data[:, edge, :] = 0.0
    region = grow_region(image, (8.0, 30.0, 30.0), TARGET)
    np.testing.assert_array_equal(whole(image, region.box, region.lesion), ball)


def test_the_edge_of_the_scan_is_no_leak() -> None:
    ball = distance_mm((0, 2, 30)) <= 2.0
    image = scan(ball)
    region = grow_region(image, (0.0, 2.0, 30.0), TARGET)
    np.testing.assert_array_equal(whole(image, region.box, region.lesion), ball)


@settings(max_examples=25)
@given(
    diameter_mm=st.floats(2.0, 9.0),
    offset=st.tuples(*[st.floats(-0.6, 0.6)] * 2),
    noise=st.floats(0.0, 6.0),
    seed=st.integers(0, 1000),
)
def test_whatever_comes_out_is_dark_connected_and_small(
    diameter_mm: float, offset: tuple[float, float], noise: float, seed: int
) -> None:
    ball = distance_mm((8, 30, 30)) <= diameter_mm / 2
    image = scan(ball)
    image.data[...] += np.random.default_rng(seed).normal(0, noise, SHAPE)
    centre = (8.0, 30.0 + offset[0] / 0.6, 30.0 + offset[1] / 0.6)
    region = grow_region(image, centre, TARGET)
    if region.reason:
        assert not region.lesion.any()
        return
    found = whole(image, region.box, region.lesion)
    (part,) = measure_components(found.astype(np.int32), image.affine)
    assert part.max_in_plane_diameter_mm <= 10.0
    assert found[8, 30, 30]
    assert not np.any(found & (distance_mm((8, 30, 30)) > diameter_mm / 2 + 2.5))
