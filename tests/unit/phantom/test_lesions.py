from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmbnet.phantom.anatomy import Anatomy
from cmbnet.phantom.grid import Grid
from cmbnet.phantom.lesions import (
    PATIENT_TYPES,
    Microbleed,
    draw_count,
    draw_microbleed,
    draw_moments,
    place_lesions,
)
from cmbnet.phantom.protocol import TINY
from cmbnet.phantom.regions import Region
from cmbnet.phantom.truth import find_apparent

GRID = Grid((9, 48, 48), (-8.0, -23.5, -23.5), (2.0, 1.0, 1.0))


def test_counts_are_those_of_patients() -> None:
    """min(150, ceil exp N(.3, 1.75)): mean 6.3, one lesion in 43 % of patients."""
    rng = np.random.default_rng(0)
    counts = np.array([draw_count(rng) for _ in range(20_000)])
    assert counts.min() == 1
    assert counts.max() == 150
    assert np.mean(counts == 1) == pytest.approx(0.43, abs=0.015)
    assert counts.mean() == pytest.approx(6.3, abs=0.35)


def test_shares_of_patients_sum_to_one() -> None:
    assert sum(share for share, _ in PATIENT_TYPES.values()) == pytest.approx(1)
    mixed = PATIENT_TYPES["mixed"][1]
    lobar = sum(weight for region, weight in mixed.items() if region.group == "lobar")
    assert lobar / sum(mixed.values()) == pytest.approx(0.70, abs=0.01)


def test_spheres_hold_the_moment() -> None:
    rng = np.random.default_rng(0)
    for moment in draw_moments(rng, 30):
        lesion = draw_microbleed(rng, Region.FRONTAL, np.zeros(3), float(moment), TINY)
        assert sum(s.moment_ppm_mm3 for s in lesion.spheres) == pytest.approx(moment)
        volume = sum(4 / 3 * np.pi * s.radius_mm**3 for s in lesion.spheres)
        assert np.pi / 6 * lesion.physical_diameter_mm**3 == pytest.approx(volume)


def test_lesions_keep_apart_and_out_of_what_hides_them(head: Anatomy) -> None:
    rng = np.random.default_rng(0)
    hidden = np.array([0.0, 0.0, 0.0])
    lesions = place_lesions(
        rng, head, TINY, np.full(12, 2.0),
        lambda points: points[:, 2] > 0, [(hidden, 15.0)],
    )  # fmt: skip
    assert len(lesions) > 3
    centres = np.array([lesion.centre_mm for lesion in lesions])
    assert centres[:, 2].min() > 0
    assert np.linalg.norm(centres - hidden, axis=1).min() > 15
    between = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(len(centres), 1)]
    assert between.min() > 5
    for lesion in lesions:
        index = np.rint(head.grid.index_of(lesion.centre_mm)).astype(int)
        assert head.brain[tuple(index)]


def lesion_at(z: float, y: float, x: float) -> Microbleed:
    return draw_microbleed(np.random.default_rng(0), Region.FRONTAL, np.array([z, y, x]), 2.0, TINY)


def dark_disc(y: float, x: float, radius: float, drop: float, z: int = 4) -> np.ndarray:
    image = np.ones(GRID.shape, np.float32)
    _, rows, columns = GRID.axes_mm()
    disc = (rows[0] - y) ** 2 + (columns[0] - x) ** 2 <= radius**2
    image[z][disc] -= drop
    return image


@pytest.mark.parametrize(
    ("radius", "drop", "noise", "status"),
    [
        (2.0, 0.8, 0.05, "truth"),
        (2.0, 0.24, 0.05, "faint"),
        (2.0, 0.8, 0.5, "noise"),
        (0.4, 0.8, 0.05, "small"),
        (6.0, 0.8, 0.05, "large"),
    ],
)
def test_only_what_a_reader_sees_is_truth(
    radius: float, drop: float, noise: float, status: str
) -> None:
    image = dark_disc(0.5, 0.5, radius, drop)
    without = np.ones(GRID.shape, np.float32)
    labels, ignore, rows = find_apparent(
        [lesion_at(0, 0.5, 0.5)], GRID, image, without, noise=noise, white=1.0
    )
    assert [row.status for row in rows] == [status]
    marked = labels if status == "truth" else ignore
    np.testing.assert_array_equal(marked > 0, image < 1)
    assert (labels.max() == 1) == (status == "truth")
    assert not np.any((labels > 0) & (ignore > 0))


def test_where_there_is_no_signal_nothing_is_seen() -> None:
    image = dark_disc(0.5, 0.5, 2.0, 0.09)
    image -= 0.9
    labels, _, (row,) = find_apparent(
        [lesion_at(0, 0.5, 0.5)], GRID, image, np.full(GRID.shape, 0.1, np.float32),
        noise=0.001, white=1.0,
    )  # fmt: skip
    assert row.status == "faint"
    assert not labels.any()


@pytest.mark.parametrize(("border", "status"), [(-4.0, "truth"), (-0.5, "truth"), (1.5, "lost")])
def test_at_least_half_of_it_is_surrounded_by_tissue(border: float, status: str) -> None:
    # On the left of the border the tissue has lost most of its signal, but not all.
    _, _, columns = GRID.axes_mm()
    without = np.where(columns[0] < border, 0.4, 1.0) * np.ones(GRID.shape, np.float32)
    image = without * dark_disc(0.5, 0.5, 2.0, 0.8)
    labels, ignore, (row,) = find_apparent(
        [lesion_at(0, 0.5, 0.5)], GRID, image, without, noise=0.01, white=1.0
    )
    assert row.status == status
    assert labels.any() == (status == "truth")
    assert ignore.any() == (status == "lost")


@pytest.mark.parametrize(
    ("rows", "columns", "status"),
    [
        (4, 4, "truth"),
        (3, 6, "truth"),
        (2, 4, "truth"),
        (1, 3, "truth"),
        (1, 6, "uneven"),
        (2, 7, "uneven"),
    ],
)
def test_a_streak_is_no_microbleed(rows: int, columns: int, status: str) -> None:
    """A rectangle of a x b pixels fills about a b / (pi / 4 (a^2 + b^2)) of the disc around it."""
    without = np.ones(GRID.shape, np.float32)
    image = without.copy()
    z, y, x = (n // 2 for n in GRID.shape)
    image[z, y : y + rows, x : x + columns] -= 0.8
    labels, ignore, (row,) = find_apparent(
        [lesion_at(0, 0.5, 0.5)], GRID, image, without, noise=0.01, white=1.0
    )
    assert row.status == status
    assert labels.any() == (status == "truth")
    assert ignore.any() == (status == "uneven")


def test_a_streak_in_another_slice_does_not_make_a_dot_uneven() -> None:
    image = dark_disc(0.5, 0.5, 3.0, 0.8)
    z, y, x = (n // 2 for n in GRID.shape)
    image[z + 1, y, x - 3 : x + 6] = 0.2  # longer than the disc, one pixel wide
    without = np.ones(GRID.shape, np.float32)
    labels, _, (row,) = find_apparent(
        [lesion_at(0, 0.5, 0.5)], GRID, image, without, noise=0.01, white=1.0
    )
    assert row.status == "truth"
    assert row.diameter_mm >= 8.0
    assert (labels[z + 1] > 0).any()


def test_pixels_larger_than_the_rim_do_not_lose_a_lesion() -> None:
    coarse = replace(GRID, spacing_mm=(3.6, 3.2, 3.2))
    at_middle = tuple(n // 2 for n in coarse.shape)
    without = np.ones(coarse.shape, np.float32)
    image = without.copy()
    image[at_middle] = 0.2
    lesion = replace(
        lesion_at(0, 0, 0), centre_mm=coarse.points_of(np.array(at_middle)).astype(float)
    )
    _, _, (row,) = find_apparent([lesion], coarse, image, without, noise=0.01, white=1.0)
    assert row.status == "truth"


def test_neighbours_stay_two_components() -> None:
    image = np.minimum(dark_disc(0.5, -2.5, 3.0, 0.8), dark_disc(0.5, 3.5, 3.0, 0.8))
    labels, ignore, rows = find_apparent(
        [lesion_at(0, 0.5, -2.5), lesion_at(0, 0.5, 3.5)], GRID, image,
        np.ones(GRID.shape, np.float32), noise=0.05, white=1.0,
    )  # fmt: skip
    from cmbnet.lesions.components import label_components

    assert [row.lesion for row in rows] == [1, 2]
    assert label_components(labels > 0)[1] == 2
    assert np.array_equal((labels > 0) | (ignore > 0), image < 1)
