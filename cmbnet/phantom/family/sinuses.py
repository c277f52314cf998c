"""Dural sinuses and arteries as tubes of many shapes, on the 1 mm grid of a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmbnet.phantom.grid import FloatArray, Grid, sample
from cmbnet.phantom.individual import Deformation
from cmbnet.phantom.veins import polyline

Section = Literal["triangle", "round", "flat"]
Corners = tuple[tuple[float, float, float], ...]

MIDDLE_MM = (10.0, -20.0, 0.0)
"""Middle of the head in MNI space (z, y, x): sinuses turn their base away from it."""

STEP_MM = 0.3

SAGITTAL: Corners = (
    (20, 70, 0), (36, 64, 0), (52, 52, 0), (66, 34, 0), (76, 8, 0), (80, -20, 0), (76, -46, 0),
    (60, -74, 0), (34, -96, 0), (4, -106, 0), (-8, -104, 0),
)  # fmt: skip
STRAIGHT: Corners = ((8, -46, 0), (6, -58, 0), (0, -76, 0), (-8, -102, 0))
TRANSVERSE: Corners = (
    (-8, -104, 2), (-13, -98, 24), (-20, -82, 48), (-28, -60, 60), (-34, -44, 58),
    (-48, -38, 48), (-58, -30, 40),
)  # fmt: skip
INFERIOR: Corners = ((34, 26, 0), (42, 4, 0), (40, -18, 0), (28, -38, 0), (10, -48, 0))
SPHENOPARIETAL: Corners = ((-10, 30, 46), (-18, 24, 34), (-24, 12, 20), (-26, 2, 13))
OCCIPITAL: Corners = ((-10, -104, 0), (-26, -98, 0), (-44, -84, 0))

ARTERIES: tuple[tuple[float, Corners], ...] = (
    (1.5, ((-66, -38, 11), (-58, -33, 7), (-50, -26, 1))),
    (1.5, ((-66, -38, -11), (-58, -33, -7), (-50, -26, -1))),
    (1.8, ((-50, -25, 0), (-40, -20, 0), (-30, -16, 0), (-20, -14, 0))),
    (2.1, ((-50, -8, 22), (-38, -2, 18), (-30, 4, 12), (-24, 2, 12), (-16, 3, 12))),
    (2.1, ((-50, -8, -22), (-38, -2, -18), (-30, 4, -12), (-24, 2, -12), (-16, 3, -12))),
    (1.4, ((-16, 3, 12), (-14, 2, 22), (-10, 0, 34), (0, -6, 40), (10, -20, 44))),
    (1.4, ((-16, 3, -12), (-14, 2, -22), (-10, 0, -34), (0, -6, -40), (10, -20, -44))),
    (0.9, ((-12, 0, 32), (-6, 10, 40), (6, 18, 44))),
    (0.9, ((-12, 0, -32), (-6, 10, -40), (6, 18, -44))),
    (1.1, ((-16, 4, 11), (-12, 12, 4), (0, 30, 2), (18, 38, 2), (34, 20, 2), (38, -4, 2))),
    (1.1, ((-16, 4, -11), (-12, 12, -4), (0, 30, -2), (18, 38, -2), (34, 20, -2), (38, -4, -2))),
    (1.1, ((-20, -14, 1), (-18, -20, 12), (-14, -32, 20), (-6, -46, 18), (0, -68, 14))),
    (1.1, ((-20, -14, -1), (-18, -20, -12), (-14, -32, -20), (-6, -46, -18), (0, -68, -14))),
)  # fmt: skip
"""Radius in mm and course of vertebral, basilar, carotid and cerebral arteries."""


@dataclass(frozen=True, slots=True)
class Tube:
    """A vessel with a cross-section."""

    path_mm: FloatArray  # (n, 3) centre line in the head
    width_mm: FloatArray  # (n,) width across
    section: Section  # Shape across
    outward: FloatArray  # (n, 3) unit vectors away from the brain, where the base is


def draw_sinuses(
    rng: np.random.Generator, deformation: Deformation, outside_mm: FloatArray, grid: Grid
) -> list[Tube]:
    """Draw the sinuses of one head; those of the vault lie against its inner table.

    `outside_mm` is the distance beyond the inner table on `grid`, negative inside.
    """
    size = deformation.scale
    width = float(np.exp(rng.uniform(np.log(4), np.log(12)))) * size
    inset_mm = float(rng.uniform(-1.0, 2.5)) * size

    def tube(
        corners: Corners, first: float, last: float, *, at_table: bool = True, side: int = 1
    ) -> Tube:
        mirrored = np.array(corners) * (1, 1, side) + rng.normal(0, 1.0, (len(corners), 3))
        path = polyline(deformation.from_mni(mirrored), STEP_MM * size)
        sections: tuple[Section, ...] = ("triangle", "triangle", "round", "flat")
        across = np.linspace(first, last, len(path)).astype(np.float32)
        wobble = np.sin(np.linspace(0, rng.uniform(4, 20), len(path)) + rng.uniform(0, 6))
        across *= (1 + rng.uniform(0, 0.25) * wobble).astype(np.float32)
        outward = _outward(path, deformation)
        if at_table:
            path = _moved_to_table(path, outward, 0.35 * across + inset_mm, outside_mm, grid)
        else:
            outward = np.broadcast_to(np.array([-1, 0, 0], np.float32), path.shape).copy()
        return Tube(path, across, sections[int(rng.integers(4))], outward)

    dominant = rng.uniform(0.15, 1.0)
    left = dominant if rng.random() < 0.5 else 1.0
    right = 1.0 if left < 1.0 else dominant
    tubes = [
        tube(SAGITTAL, 0.3 * width, width),
        tube(STRAIGHT, 0.45 * width, 0.7 * width, at_table=False),
        *(
            tube(TRANSVERSE, share * width, 0.9 * share * width, side=side)
            for side, share in ((1, left), (-1, right))
        ),
        tube(INFERIOR, 0.15 * width, 0.35 * width, at_table=False),
        *(tube(SPHENOPARIETAL, 2 * size, 4 * size, side=side) for side in (1, -1)),
    ]
    if rng.random() < 0.3:
        tubes.append(tube(OCCIPITAL, 0.5 * width, 0.3 * width))
    tubes.append(_ball(tubes[0].path_mm[-1], width * rng.uniform(1.0, 1.4)))  # the torcular
    return tubes


def _ball(centre_mm: FloatArray, width_mm: float) -> Tube:
    """A ball as an upright tube that widens and narrows."""
    along = np.arange(-width_mm / 2, width_mm / 2, STEP_MM, dtype=np.float32)
    path = centre_mm + along[:, None] * np.array([1, 0, 0], np.float32)
    across = 2 * np.sqrt(np.maximum((width_mm / 2) ** 2 - along**2, 0))
    outward = np.broadcast_to(np.array([0, -1, 0], np.float32), path.shape).copy()
    return Tube(path, across, "round", outward)


def draw_arteries(rng: np.random.Generator, deformation: Deformation) -> list[Tube]:
    """Draw the arteries at the base and their first branches; elderly ones wind."""
    size = deformation.scale
    wide, winding = rng.uniform(0.7, 1.5), rng.uniform(0.5, 3.0)
    tubes = []
    for radius, corners in ARTERIES:
        jitter = rng.normal(0, winding, (len(corners), 3))
        jitter[0] = jitter[-1] = 0  # one begins where the other ends
        path = polyline(deformation.from_mni(np.array(corners) + jitter), STEP_MM * size)
        across = np.linspace(2 * radius, 1.5 * radius, len(path)) * wide * size
        outward = np.broadcast_to(np.array([1, 0, 0], np.float32), path.shape).copy()
        tubes.append(Tube(path, across.astype(np.float32), "round", outward))
    return tubes


def _outward(path_mm: FloatArray, deformation: Deformation) -> FloatArray:
    middle = deformation.from_mni(np.array([MIDDLE_MM]))[0]
    away = path_mm - middle
    result: FloatArray = away / np.linalg.norm(away, axis=1, keepdims=True)
    return result


def _moved_to_table(
    path_mm: FloatArray, outward: FloatArray, inset_mm: FloatArray, outside_mm: FloatArray,
    grid: Grid,
) -> FloatArray:  # fmt: skip
    """The path moved along its outward vectors until it lies so far within the inner table."""
    steps = np.arange(-16, 16.5, 1.0, dtype=np.float32)
    probes = path_mm[:, None] + steps[:, None] * outward[:, None]
    beyond = sample(outside_mm, grid, probes.reshape(-1, 3)).reshape(len(path_mm), -1) >= 0
    last_inside = len(steps) - 1 - np.argmax(~beyond[:, ::-1], axis=1)
    shift = np.where(beyond.all(axis=1), 0, steps[last_inside]) - inset_mm
    window = np.hanning(2 * min(25, len(shift) // 3) + 3)
    padded = np.pad(shift, len(window) // 2, mode="edge")
    smooth = np.convolve(padded, window / window.sum(), mode="valid")
    return (path_mm + smooth[:, None] * outward).astype(np.float32)


def share_of(tubes: list[Tube], grid: Grid) -> FloatArray:
    """Share of every voxel that lies in a tube, 0 to 1."""
    total = np.zeros(int(np.prod(grid.shape)), np.float32)
    for tube in tubes:
        points, volume = _filled(tube)
        index = grid.nearest(points)
        inside = np.all((index >= 0) & (index < np.array(grid.shape)), axis=1)
        flat = np.ravel_multi_index(tuple(index[inside].T), grid.shape)
        share = volume[inside] / float(np.prod(grid.spacing_mm))
        total += np.bincount(flat, share, len(total)).astype(np.float32)
    return np.minimum(total, 1, out=total).reshape(grid.shape)


def _filled(tube: Tube) -> tuple[FloatArray, NDArray[np.float64]]:
    """Points of a lattice that fills a tube, and the volume that each stands for."""
    tangent = np.gradient(tube.path_mm, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-6
    across = np.cross(tangent, tube.outward)
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-6
    upward = np.cross(across, tangent)
    count = max(5, int(np.ceil(float(tube.width_mm.max()) / STEP_MM)))
    at = (np.arange(count) + 0.5) / count - 0.5
    a, b = (part.ravel() for part in np.meshgrid(at, at, indexing="ij"))
    height = {"triangle": 0.9, "round": 1.0, "flat": 0.4}[tube.section]
    triangle = np.abs(b) <= 0.5 * (a + 0.5)
    kept = triangle if tube.section == "triangle" else a**2 + b**2 <= 0.25
    a, b = a[kept] * height, b[kept]
    width = tube.width_mm[:, None, None]
    points = (
        tube.path_mm[:, None]
        + a[None, :, None] * width * upward[:, None]
        + b[None, :, None] * width * across[:, None]
    )
    length = np.linalg.norm(np.diff(tube.path_mm, axis=0, append=tube.path_mm[-1:]), axis=1)
    length[-1] = length[-2]
    volume = length * height * (tube.width_mm / count) ** 2
    return points.reshape(-1, 3).astype(np.float32), np.repeat(volume, len(a)).astype(float)
