"""Veins as points that each carry a small volume of blood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.grid import FloatArray, Grid, random_points, sample
from cmbnet.phantom.individual import Deformation

STEP_MM = 0.35
"""Distance of points along a vein."""

SINUSES: tuple[tuple[float, float, tuple[tuple[float, float, float], ...]], ...] = (
    # first and last radius, then MNI points (z, y, x)
    (1.3, 3.4, ((28, 66, 0), (48, 54, 0), (64, 34, 0), (74, 8, 0), (78, -20, 0), (74, -46, 0),
                (58, -74, 0), (32, -94, 0), (4, -104, 0), (-10, -103, 0))),
    (1.6, 2.4, ((8, -46, 0), (6, -58, 0), (0, -76, 0), (-8, -98, 0))),
    (2.8, 2.8, ((-10, -103, 2), (-14, -96, 24), (-20, -80, 48), (-28, -58, 60), (-34, -42, 58))),
    (2.8, 2.8, ((-10, -103, -2), (-14, -96, -24), (-20, -80, -48), (-28, -58, -60),
                (-34, -42, -58))),
    (0.8, 1.0, ((16, 2, 3), (18, -12, 3.5), (15, -28, 4), (10, -38, 3), (8, -46, 1))),
    (0.8, 1.0, ((16, 2, -3), (18, -12, -3.5), (15, -28, -4), (10, -38, -3), (8, -46, -1))),
    (0.3, 0.6, ((8, 30, 5), (14, 18, 3), (16, 4, 2.5))),
    (0.3, 0.6, ((8, 30, -5), (14, 18, -3), (16, 4, -2.5))),
    (0.5, 0.9, ((8, -4, 22), (18, -8, 19), (20, -4, 10), (16, 2, 4))),
    (0.5, 0.9, ((8, -4, -22), (18, -8, -19), (20, -4, -10), (16, 2, -4))),
    (0.9, 1.2, ((-14, -8, 20), (-8, -24, 20), (0, -36, 12), (8, -46, 2))),
    (0.9, 1.2, ((-14, -8, -20), (-8, -24, -20), (0, -36, -12), (8, -46, -2))),
)  # fmt: skip
"""Sinuses and deep veins: superior sagittal, straight, transverse, internal cerebral, septal,
thalamostriate, basal."""


@dataclass(frozen=True, slots=True)
class VeinPoints:
    """Points of blood vessels."""

    points_mm: FloatArray  # (n, 3) float32 positions z, y, x in the head
    volume_mm3: FloatArray  # (n,) float32 blood that each point stands for

    @classmethod
    def joined(cls, parts: list[VeinPoints]) -> VeinPoints:
        """Join the points of several sets."""
        return cls(
            np.concatenate([part.points_mm for part in parts]),
            np.concatenate([part.volume_mm3 for part in parts]),
        )


def thicken(
    rng: np.random.Generator,
    path_mm: FloatArray,
    radius_mm: FloatArray,
    step_mm: float | FloatArray,
) -> VeinPoints:
    """Turn centre-line points into points that fill the lumen.

    Paths are (n, 3), radii (n,). `step_mm` is the length that each point stands for, of all or (n,)
    of each.
    """
    copies = np.clip(np.ceil((radius_mm / 0.3) ** 2), 1, 60).astype(int)
    points = np.repeat(path_mm, copies, axis=0)
    radius = np.repeat(radius_mm, copies)
    # A random point of a ball, drawn to the power that makes its projection fill the disc: the
    # direction of the vessel need not be known, neighbours overlap along it.
    offset = rng.standard_normal(points.shape, np.float32)
    offset /= np.linalg.norm(offset, axis=1, keepdims=True) + 1e-6
    reach = radius * rng.random(len(points), np.float32) ** (1 / 3)
    reach[np.repeat(copies, copies) == 1] = 0
    volume = np.repeat(np.pi * radius_mm**2 * step_mm / copies, copies).astype(np.float32)
    return VeinPoints((points + offset * reach[:, None]).astype(np.float32), volume)


def polyline(corners_mm: FloatArray, step_mm: float) -> FloatArray:
    """Return points at a step along a smooth curve through corners (n, 3)."""
    from scipy.interpolate import CubicSpline

    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(corners_mm, axis=0), axis=1))])
    curve = CubicSpline(along, corners_mm)
    result: FloatArray = curve(np.arange(0, along[-1], step_mm)).astype(np.float32)
    return result


def trace(
    rng: np.random.Generator,
    start_mm: FloatArray,
    heading: FloatArray,
    guide: Callable[[FloatArray], FloatArray],
    *,
    steps: NDArray[np.int64],
    turn: float,
    jitter: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Let many lines grow at once, each turning toward a guide with some inertia.

    Args:
        rng: Source of randomness.
        start_mm: (n, 3) first points.
        heading: (n, 3) first directions.
        guide: Positions (n, 3) to vectors (n, 3) of length up to about 1.
        steps: (n,) number of points of each line.
        turn: Weight of the guide.
        jitter: Weight of a random direction.

    Returns:
        Points (m, 3), and for each the share 0 to 1 of its line that lies behind it, and the
        index of its line.
    """
    points, direction = start_mm.copy(), heading.copy()
    paths, share, line = [], [], []
    number = np.arange(len(start_mm))
    for step in range(int(steps.max())):
        alive = steps[number] > step
        number, points, direction = number[alive], points[alive], direction[alive]
        paths.append(points.copy())
        share.append(step / steps[number])
        line.append(number)
        noise = rng.standard_normal(points.shape, np.float32)
        direction = direction + turn * guide(points) + jitter * noise
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6
        points = points + STEP_MM * direction
    return (
        np.concatenate(paths).astype(np.float32),
        np.concatenate(share).astype(np.float32),
        np.concatenate(line),
    )


def _gradient_guide(values: FloatArray, grid: Grid) -> Callable[[FloatArray], FloatArray]:
    """Guide that climbs a map; its vectors are scaled to length 1 where the map is steep."""
    parts = np.gradient(values, *grid.spacing_mm)
    length = np.sqrt(sum(part**2 for part in parts))
    scale = 1 / (length + 0.3 * np.percentile(length, 90) + 1e-6)
    parts = [(part * scale).astype(np.float32) for part in parts]

    def guide(points_mm: FloatArray) -> FloatArray:
        return np.stack([sample(part, grid, points_mm) for part in parts], axis=1)

    return guide


def _unit(rng: np.random.Generator, count: int) -> FloatArray:
    vector = rng.standard_normal((count, 3), np.float32)
    result: FloatArray = vector / np.linalg.norm(vector, axis=1, keepdims=True)
    return result


def grow_veins(
    rng: np.random.Generator,
    *,
    grid: Grid,
    grey: FloatArray,
    white: FloatArray,
    csf: FloatArray,
    brain: NDArray[np.bool_],
    deformation: Deformation,
) -> VeinPoints:
    """Grow the veins of one head: medullary, pial, cortical twigs, sinuses and deep veins.

    The grid of the maps has 1 mm. The deformation, a map to MNI space, places the sinuses.
    """
    every = (slice(None, None, 2),) * 3
    coarse = Grid(grey[every].shape, grid.origin_mm, (2.0, 2.0, 2.0))
    grey, white, csf, brain = grey[every], white[every], csf[every], brain[every]
    amount = brain.sum() / 230_000  # heads of other sizes have veins of the same density
    q = deformation.on(coarse)
    _, far_mm = ventricles(csf, q)
    parts = [
        _medullary(rng, white, far_mm, q[0], coarse, round(260 * amount)),
        _pial(rng, csf, far_mm, brain, coarse, round(1100 * amount)),
        _twigs(rng, grey, csf, far_mm, coarse, round(800 * amount)),
    ]
    for first, last, corners in SINUSES:
        jitter = rng.normal(0, 1.0, (len(corners), 3))
        path = polyline(deformation.from_mni(np.array(corners) + jitter), STEP_MM)
        radius = np.linspace(first, last, len(path), dtype=np.float32) * deformation.scale
        parts.append(thicken(rng, path, radius * rng.uniform(0.75, 1.2), STEP_MM))
    return VeinPoints.joined(parts)


def ventricles(
    csf: FloatArray, q: tuple[FloatArray, FloatArray, FloatArray]
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Find the lateral ventricles on a 2 mm grid, and the distance to them in mm."""
    ellipsoid = ((q[0] - 14) / 26) ** 2 + ((q[1] + 16) / 52) ** 2 + (q[2] / 34) ** 2 < 1
    ventricle = (csf > 0.5) & ellipsoid
    if not ventricle.any():
        ventricle = (np.abs(q[0] - 16) < 6) & (np.abs(q[2]) < 8) & (np.abs(q[1] + 12) < 20)
    far = ndimage.distance_transform_edt(~ventricle, sampling=2.0)
    return ventricle, far.astype(np.float32)


def _medullary(
    rng: np.random.Generator, white: FloatArray, far_mm: FloatArray, z: FloatArray,
    grid: Grid, count: int,
) -> VeinPoints:  # fmt: skip
    """Fine veins that run through the white matter to the ventricles and widen."""
    start = random_points(
        rng, grid, (white > 0.7) & (far_mm > 9) & (far_mm < 34) & (z > -4), count, jitter=True
    )
    if not len(start):
        return VeinPoints(start, np.zeros(0, np.float32))
    inward = _gradient_guide(-ndimage.gaussian_filter(far_mm, 1.0), grid)
    steps = np.maximum(sample(far_mm, grid, start) / STEP_MM - 2, 4).astype(np.int64)
    path, share, line = trace(rng, start, inward(start), inward, steps=steps, turn=0.3, jitter=0.12)
    end = rng.uniform(0.22, 0.55, len(start)).astype(np.float32)
    return thicken(rng, path, 0.14 + (end[line] - 0.14) * share, STEP_MM)


def _pial(
    rng: np.random.Generator, csf: FloatArray, far_mm: FloatArray, brain: NDArray[np.bool_],
    grid: Grid, count: int,
) -> VeinPoints:  # fmt: skip
    """Veins of the surface, which keep to the CSF of the sulci."""
    start = random_points(rng, grid, (csf > 0.35) & (far_mm > 7) & brain, count, jitter=True)
    if not len(start):
        return VeinPoints(start, np.zeros(0, np.float32))
    keep = _gradient_guide(ndimage.gaussian_filter(csf * brain, 0.8), grid)
    steps = (rng.gamma(3, 6, len(start)).clip(5, 55) / STEP_MM).astype(np.int64)
    path, share, line = trace(
        rng, start, _unit(rng, len(start)), keep, steps=steps, turn=0.22, jitter=0.10
    )
    end = np.clip(rng.lognormal(np.log(0.48), 0.42, len(start)), 0.2, 1.2).astype(np.float32)
    return thicken(rng, path, end[line] * (0.55 + 0.45 * share), STEP_MM)


def _twigs(
    rng: np.random.Generator, grey: FloatArray, csf: FloatArray, far_mm: FloatArray, grid: Grid,
    count: int,
) -> VeinPoints:  # fmt: skip
    """Short veins that cross the cortex toward the sulcus."""
    start = random_points(rng, grid, (grey > 0.5) & (far_mm > 7), count, jitter=True)
    if not len(start):
        return VeinPoints(start, np.zeros(0, np.float32))
    outward = _gradient_guide(ndimage.gaussian_filter(csf, 1.0), grid)
    steps = (rng.uniform(4, 10, len(start)) / STEP_MM).astype(np.int64)
    path, _, line = trace(
        rng, start, _unit(rng, len(start)), outward, steps=steps, turn=0.25, jitter=0.1
    )
    radius = rng.uniform(0.14, 0.34, len(start)).astype(np.float32)
    return thicken(rng, path, radius[line], STEP_MM)
