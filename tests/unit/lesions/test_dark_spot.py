"""The outline of a dark spot at a click."""

from __future__ import annotations

import numpy as np
import pytest

from cmbnet.lesions import LesionRules, spacing_affine
from cmbnet.lesions.dark_spot import dark_spot
from cmbnet.volume import Volume

SHAPE = (11, 41, 41)
RULES = LesionRules()


def ball(radius_mm: float = 2.0, noise: float = 0.0) -> tuple[Volume, np.ndarray]:
    """A scan of 100 with a ball at its middle that darkens to 20 with a soft rim."""
    affine = spacing_affine((1.0, 0.5, 0.5))
    z, y, x = np.indices(SHAPE)
    away = np.sqrt((z - 5) ** 2 + ((y - 20) * 0.5) ** 2 + ((x - 20) * 0.5) ** 2)
    depth = np.clip(1.0 - (away - radius_mm + 0.5), 0, 1)  # half deep at the radius
    data = 100 - 80 * depth + noise * np.random.default_rng(0).standard_normal(SHAPE)
    return Volume(data.astype(np.float32), affine), np.flatnonzero(away <= radius_mm)


def test_the_outline_is_half_way_down() -> None:
    image, truth = ball()
    assert np.array_equal(dark_spot(image, (5, 20, 20), RULES), truth)


def test_a_click_beside_the_middle_means_the_same_spot() -> None:
    image, truth = ball()
    assert np.array_equal(dark_spot(image, (5, 22, 18), RULES), truth)
    assert np.array_equal(dark_spot(image, (6, 20, 20), RULES), truth)


def test_a_smaller_share_gives_a_wider_outline() -> None:
    image, _ = ball(noise=2)
    spots = [dark_spot(image, (5, 20, 20), RULES, share=share) for share in (0.8, 0.5, 0.3)]
    sizes = [len(spot) for spot in spots]
    assert sizes == sorted(set(sizes))
    assert set(spots[0]) < set(spots[1]) < set(spots[2])


def test_the_outline_does_not_run_along_a_vein() -> None:
    image, truth = ball()
    image.data[5, 20, 25:] = 45  # a fainter vein that touches it
    spot = dark_spot(image, (5, 20, 20), RULES, share=0.75)
    assert len(spot) < len(truth) + 6
    far = dark_spot(image, (5, 20, 20), RULES)
    _, _, x = np.unravel_index(far, SHAPE)
    assert x.max() <= 20 + 6 / 0.5


def test_where_nothing_is_dark_it_is_a_small_ball() -> None:
    image, _ = ball(noise=2)
    spot = dark_spot(image, (5, 34, 34), RULES)
    z, y, x = np.unravel_index(spot, SHAPE)
    assert (z == 5).sum() == 13  # a disc of radius 1 mm
    assert (y.mean(), x.mean()) == (34, 34)


@pytest.mark.parametrize("at", [(0, 0, 0), (10, 40, 40)])
def test_a_corner_of_the_scan_is_a_place(at: tuple[int, int, int]) -> None:
    image, _ = ball()
    assert np.ravel_multi_index(at, SHAPE) in dark_spot(image, at, RULES)


def test_a_place_outside_the_scan_is_refused() -> None:
    with pytest.raises(IndexError, match="a voxel within"):
        dark_spot(ball()[0], (0, 0, 41), RULES)


def test_an_even_scan_has_small_balls_only() -> None:
    image, _ = ball()
    assert len(dark_spot(image.with_data(image.data * 0), (5, 20, 20), RULES)) == 15
