from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.regions import head_template, locate
from cmbnet.regions.locate import LEAST_OVERLAP, _why_bad
from cmbnet.regions.register import BOX_MM, Alignment, Field, align, cells_of

SHAPE = (48, 60, 55)
SPACING = np.array([4.0, 4.0, 4.0])
WEIGHTS = np.array([1.05, 1.0, 0.7])
"""Brightness of grey matter, white matter and fluid, as on SWI."""


def turned(pitch_deg: float, roll_deg: float = 0.0) -> NDArray[np.float64]:
    """Rotation of superior, anterior, right."""
    result = np.eye(3)
    for angle, (a, b) in ((pitch_deg, (0, 1)), (roll_deg, (0, 2))):
        turn, radians = np.eye(3), np.deg2rad(angle)
        turn[[a, b], [a, b]] = np.cos(radians)
        turn[a, b], turn[b, a] = -np.sin(radians), np.sin(radians)
        result = result @ turn
    return result


class Head:
    """A scan made of the template under a map that is known."""

    def __init__(self, matrix: NDArray[np.float64], weights: NDArray[np.float64] = WEIGHTS) -> None:
        self.matrix, self.offset = matrix, np.array([5.0, -12.0, 8.0])
        centre = np.array([10.0, -15.0, 0.0]) - (np.array(SHAPE) - 1) / 2 * SPACING
        index = np.indices(SHAPE).reshape(3, -1).T
        self.world = index * SPACING + centre
        values = head_template().tissues.at(self.to_template(self.world))[0]
        rng = np.random.default_rng(1)
        image = values[:, 1:] @ weights * 700 + rng.normal(0, 20, len(values))
        self.image = image.reshape(SHAPE).astype(np.float32)
        self.brain = (values[:, 0] > 0.5).reshape(SHAPE)
        self.affine = np.eye(4)
        self.affine[:3, :3] = np.eye(3)[::-1] * SPACING  # z to superior, x to right
        self.affine[:3, 3] = centre[::-1]

    def to_template(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        moved: NDArray[np.float64] = world @ self.matrix.T + self.offset
        return moved

    def part(self, first: int, last: int) -> Head:
        """Some of the slices."""
        self.image, self.brain = self.image[first:last], self.brain[first:last]
        self.affine = self.affine.copy()
        self.affine[:3, 3] += self.affine[:3, 0] * first
        return self

    def error_mm(self, found: Alignment | None) -> float:
        assert found is not None
        inside = self.world[::97]
        there = self.to_template(inside)
        values = head_template().tissues.at(there)[0][:, 0] > 0.5
        away = np.linalg.norm(found.to_template(inside) - there, axis=1)
        return float(np.percentile(away[values], 95))


@pytest.mark.parametrize("pitch", [-30.0, 0.0, 30.0])
def test_a_tilted_head_is_found(pitch: float) -> None:
    head = Head(turned(pitch, 8.0) * 1.06)
    locator = locate(head.image, head.brain, head.affine)
    assert locator.failed == ""
    assert head.error_mm(locator.alignment) < 2.0


@pytest.mark.parametrize(("first", "last"), [(14, 32), (20, 48)], ids=["middle", "upper part"])
def test_a_part_of_a_head_is_found(first: int, last: int) -> None:
    head = Head(turned(12.0)).part(first, last)
    locator = locate(head.image, head.brain, head.affine)
    assert locator.failed == ""
    slab = Head(turned(12.0))
    slab.world = slab.world.reshape(*SHAPE, 3)[first:last].reshape(-1, 3)
    assert slab.error_mm(locator.alignment) < 4.0


def test_contrast_and_unit_do_not_matter() -> None:
    head = Head(turned(10.0), np.array([0.6, 1.0, 1.4]))
    locator = locate(head.image * 1e-3, head.brain, head.affine)
    assert locator.failed == ""
    assert head.error_mm(locator.alignment) < 2.0


def test_a_lesion_gets_the_region_of_its_place() -> None:
    head = Head(turned(20.0))
    locator = locate(head.image, head.brain, head.affine)
    thalamus = np.array([8.0, -18.0, -12.0])
    world = np.linalg.solve(head.matrix, thalamus - head.offset)
    place = locator.place((world[2], world[1], world[0]))
    assert (place.region, place.side) == ("thalamus", "left")


def test_little_brain_is_refused() -> None:
    head = Head(turned(0.0)).part(24, 25)
    locator = locate(head.image, head.brain, head.affine)
    assert "at least 150 ml of brain are required" in locator.failed
    assert locator.place((0.0, 0.0, 0.0)).region == "unknown"


def test_what_is_no_head_is_refused() -> None:
    head = Head(turned(0.0))
    z, y, x = np.indices(SHAPE) * SPACING[:, None, None, None]
    box = (abs(z - 95) < 30) & (abs(y - 120) < 100) & (abs(x - 108) < 20)
    image = np.random.default_rng(0).normal(500, 50, SHAPE).astype(np.float32)
    locator = locate(image, box, head.affine)
    assert locator.failed.startswith("no regions are given: the template head does not fit")
    assert locator.place((0.0, 0.0, 0.0)).region == "unknown"


def test_a_tight_affine_is_a_rotation() -> None:
    head = Head(turned(15.0, 5.0))
    cells = cells_of(head.image, head.brain, head.affine)
    coarse = cells_of(head.image, head.brain, head.affine, blur_mm=6.0)
    tissues = head_template().tissues
    found = align(coarse, cells, tissues, affine_sd=1e-4, warp=False)
    assert np.allclose(found.matrix.T @ found.matrix, np.eye(3), atol=1e-3)
    assert np.allclose(found.matrix, head.matrix, atol=0.01)


def test_slopes_are_those_of_the_values() -> None:
    rng = np.random.default_rng(2)
    field = Field(rng.random((6, 7, 8, 2), np.float32), np.array([-3.0, 1.0, 2.0]), 2.0)
    points = rng.uniform((-2, 2, 3), (6, 12, 15), (50, 3))
    values, slopes = field.at(points)
    for axis in range(3):
        step = np.eye(3)[axis] * 1e-3
        there, _ = field.at(points + step)
        inside = np.floor((points - field.origin_mm) / 2) == np.floor(
            (points + step - field.origin_mm) / 2
        )
        change = (there - values) / 1e-3
        assert np.allclose(change[inside.all(1)], slopes[inside.all(1), :, axis], atol=2e-3)


def test_the_box_of_the_warp_holds_the_template() -> None:
    labels = head_template().labels
    corner, size = map(np.array, BOX_MM)
    last = labels.origin_mm + (np.array(labels.labels.shape) - 1) * labels.cell_mm
    assert np.all(labels.origin_mm >= corner)
    assert np.all(last <= corner + size + 1)


def test_what_falls_short_is_not_printed_as_the_limit() -> None:
    short = Alignment(np.eye(3), np.zeros(3), overlap=LEAST_OVERLAP - 0.001, explained=1.0)
    assert "overlap of the brain 0.92 (required 0.93)" in _why_bad(short)


@pytest.mark.parametrize(
    ("point_mm", "low", "high"),
    [
        ((35.0, -20.0, 25.0), 0.95, 1.0),  # centrum semiovale
        ((15.0, -40.0, 24.0), 0.0, 0.3),  # atrium of the lateral ventricle
        ((3.0, -34.0, 0.0), 0.0, 0.5),  # pineal gland
        ((120.0, 0.0, 0.0), 0.0, 0.0),  # above the head
    ],
)
def test_the_template_knows_where_tissue_is(
    point_mm: tuple[float, float, float], low: float, high: float
) -> None:
    assert low <= head_template().tissue(np.array(point_mm)) <= high
