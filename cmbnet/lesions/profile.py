"""The brightness of the scan around a candidate, across the slices and in them.

A microbleed is dark over a few millimetres only. A vein continues in other slices or to a side,
straight or tilted. Its darkness there says more than a limit would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cmbnet.lesions.measure import axial_axis
from cmbnet.lesions.surroundings import MIN_SURROUNDINGS, SD_OF_MAD
from cmbnet.volume import Volume

STEP_MM: Final = (1.5, 0.6, 0.6)
"""Distance of the samples of the surroundings: across the slices, and twice along them."""

SAMPLES: Final = (13, 28, 28)
"""Number of samples along each axis: 18 mm across the slices, 16 mm along them."""

BRIGHTEST: Final = 2.5
"""Largest brightness relative to brain. Brighter samples are set to it."""

ROUNDING_VOXELS: Final = 1e-3
"""A place this near to the first or the last voxel counts as on it."""

NEITHER: Final = (1.0, 0.1)
"""Assumed brightness and spread of brain if there is too little brain to measure."""

CORE_MM: Final = 1.2
TUBE_MM: Final = 3.6
"""Radii in a slice, for a structure that continues straight and for one that leans."""

AROUND_MM: Final = 7.0
SECTOR_MM: Final = (2.0, 5.0)
SECTORS: Final = 8

PLANES_AWAY: Final = (2, 3, 4, 6)
"""Planes above and below the middle that are examined: 3 to 9 mm away."""

RINGS_MM: Final = (0.0, 0.9, 1.8, 2.7, 3.6, 5.0, 7.0)
"""Borders of the rings around the middle. The first ring is a disc."""

RING_PLANES: Final = (0, 1, 2, 3)
"""Planes above and below the middle in which rings are measured: 0 to 4.5 mm away."""

SECTOR_RANKS: Final = (0, 1, 3, 7)
"""Ranks of the sectors that count, from dark to bright."""

MEASURES: Final = (
    "log_slice_mm",
    "log_pixel_mm",
    "spread",
    "darkest",
    *(
        f"{part}_{1.5 * away:g}_mm_{side}"
        for part in ("core", "tube")
        for away in PLANES_AWAY
        for side in ("darker", "lighter")
    ),
    *(f"sector_{rank + 1}" for rank in SECTOR_RANKS),
    *(
        f"ring_to_{outer:g}_mm_{1.5 * away:g}_mm_away"
        for away in RING_PLANES
        for outer in RINGS_MM[1:]
    ),
    "brain_near",
    "brain_around",
)
"""Names of the measures, in order. All but the first two and the last two are relative to the
brightness of brain. ``core`` and ``tube`` are the darkest samples within their radius, at the named
distance in mm above or below; there is one for the darker and one for the lighter side. A ``ring``
is the mean of its samples in the two planes at the named distance. It tells how black a dot is, how
sharp its edge is, and how soon it ends."""

_MIDDLE = SAMPLES[0] // 2
_NEXT = slice(_MIDDLE - 1, _MIDDLE + 2)
_ALONG = (np.arange(SAMPLES[1]) - (SAMPLES[1] - 1) / 2) * STEP_MM[1]
_Y, _X = np.meshgrid(_ALONG, _ALONG, indexing="ij")
_RADIUS = np.hypot(_Y, _X)
# Turned by half a sector: no sample lies on a border, so that a flip only renames the sectors.
_TURN = np.floor((np.arctan2(_Y, _X) + np.pi) / (2 * np.pi) * SECTORS + 0.5) % SECTORS
_RINGS = np.stack([np.digitize(_RADIUS.ravel(), RINGS_MM) == n for n in range(1, len(RINGS_MM))])
_RING_MEANS = (_RINGS / _RINGS.sum(axis=1, keepdims=True)).astype(np.float32)
_OUTSIDE = np.digitize(_RADIUS, SECTOR_MM) != 1
_SECTORS = tuple(np.where(_OUTSIDE, False, np.equal(_TURN, sector)) for sector in range(SECTORS))


def profile(
    image: Volume, bbox: tuple[tuple[int, int], ...], brain: NDArray[Any] | None
) -> tuple[float, ...]:
    """Measure the surroundings of a candidate.

    Args:
        image: The scan.
        bbox: Half-open index ranges of the candidate along z, y, x. Its middle is the centre.
        brain: Brain mask of the shape of the scan. None means that everything is brain.

    Returns:
        A number for each of `MEASURES`. Places outside the scan count as dark.
    """
    axis = axial_axis(image.affine)
    order = (axis, *(other for other in range(3) if other != axis))
    spacing = [image.spacing_mm[n] for n in order]
    places = [
        (bbox[n][0] + bbox[n][1] - 1) / 2 + (np.arange(count) - (count - 1) / 2) * step / side
        for n, count, step, side in zip(order, SAMPLES, STEP_MM, spacing, strict=True)
    ]
    window = [
        slice(max(math.floor(at[0]) - 1, 0), min(math.ceil(at[-1]) + 2, image.shape[n]))
        for n, at in zip(order, places, strict=True)
    ]
    inside = tuple(window[order.index(n)] for n in range(3))
    values = np.transpose(image.data[inside], order).astype(np.float32)
    tissue = np.ones(values.shape, bool)
    if brain is not None:
        tissue = np.transpose(brain[inside] != 0, order)
    level, spread = _brightness(values[tissue])
    grid = [
        _interpolation(at - part.start, part.stop - part.start)
        for at, part in zip(places, window, strict=True)
    ]
    samples = np.clip(_sampled(values, grid) / level, 0.0, BRIGHTEST)
    return (
        math.log(spacing[0]),
        math.log(spacing[1] * spacing[2]) / 2,
        spread / level,
        float(samples[_NEXT][:, _RADIUS < CORE_MM].min()),
        *_beyond(samples[:, _RADIUS < CORE_MM].min(axis=1)),
        *_beyond(samples[:, _RADIUS < TUBE_MM].min(axis=1)),
        *_sectors(samples[_MIDDLE]),
        *_rings(samples),
        *_share_of_brain(_sampled(tissue.astype(np.float32), grid)),
    )


def _brightness(brain: NDArray[np.float32]) -> tuple[float, float]:
    """Return the median, and the standard deviation from the median absolute deviation."""
    if len(brain) < MIN_SURROUNDINGS:
        return NEITHER
    median = float(np.median(brain))
    if median <= 0.0:
        return NEITHER
    return median, SD_OF_MAD * float(np.median(np.abs(brain - median)))


def _interpolation(at: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Return the weights of `size` voxels for values at places along an axis, 0 outside."""
    # A place on the last voxel is one, whatever the rounding of the affine.
    for edge in (0.0, size - 1.0):
        at = np.where(np.abs(at - edge) < ROUNDING_VOXELS, edge, at)
    low = np.clip(np.floor(at), 0, max(size - 2, 0)).astype(int)
    weights = np.zeros((len(at), size), np.float32)
    rows = np.arange(len(at))
    weights[rows, low] = 1 - (at - low)
    weights[rows, np.minimum(low + 1, size - 1)] += at - low
    weights[(at < 0) | (at > size - 1)] = 0.0
    return weights


def _sampled(
    values: NDArray[np.float32], grid: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Interpolate the samples linearly. The grid is aligned, so one axis follows the other."""
    z, y, x = grid
    sampled: NDArray[np.float32] = y @ (np.tensordot(z, values, 1) @ x.T)
    return sampled


def _beyond(darkest: NDArray[np.float32]) -> Iterator[float]:
    """Return the darker and the lighter side of the darkest samples, for each distance."""
    for away in PLANES_AWAY:
        sides = float(darkest[_MIDDLE - away]), float(darkest[_MIDDLE + away])
        yield from (min(sides), max(sides))


def _sectors(plane: NDArray[np.float32]) -> Iterator[float]:
    """Return the means of the ring around the candidate by direction, from dark to bright."""
    means = sorted(float(plane[sector].mean()) for sector in _SECTORS)
    yield from (means[rank] for rank in SECTOR_RANKS)


def _rings(samples: NDArray[np.float32]) -> Iterator[float]:
    """Return the means of the rings for each distance, over the planes above and below."""
    for away in RING_PLANES:
        plane = (samples[_MIDDLE - away] + samples[_MIDDLE + away]) / 2
        yield from (_RING_MEANS @ plane.ravel()).tolist()


def _share_of_brain(brain: NDArray[np.float32]) -> Iterator[float]:
    yield float(brain[_NEXT][:, _RADIUS < TUBE_MM].mean())
    yield float(brain[:, _RADIUS < AROUND_MM].mean())
