"""What the scan looks like around a candidate, across the slices and in them.

A microbleed is dark in a few millimetres only. A vein goes on in other slices or to a side,
straight or tilted; how dark it is there tells more than whether a limit is crossed.
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
"""The surroundings are sampled this far apart: across the slices, and twice along them."""

SAMPLES: Final = (13, 28, 28)
"""So many times: 18 mm across the slices, 16 mm along them."""

BRIGHTEST: Final = 2.5
"""Brightness against that of brain is cut off here."""

ROUNDING_VOXELS: Final = 1e-3
"""A place this near to the first or the last voxel is on it."""

NEITHER: Final = (1.0, 0.1)
"""Brightness and spread of brain where there is too little of it."""

CORE_MM: Final = 1.2
TUBE_MM: Final = 3.6
"""Radii in a slice: of what goes straight on, and of what leans."""

AROUND_MM: Final = 7.0
SECTOR_MM: Final = (2.0, 5.0)
SECTORS: Final = 8

PLANES_AWAY: Final = (2, 3, 4, 6)
"""Samples above and below the middle where it is looked: 3 to 9 mm away."""

RINGS_MM: Final = (0.0, 0.9, 1.8, 2.7, 3.6, 5.0, 7.0)
"""Borders of the rings around the middle: the first one is a disc."""

RING_PLANES: Final = (0, 1, 2, 3)
"""Samples above and below the middle where rings are looked at: 0 to 4.5 mm away."""

SECTOR_RANKS: Final = (0, 1, 3, 7)
"""Of the sectors from dark to bright, those that count."""

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
"""What is measured, in order; all but the first two and the last two are shares of the brightness
of brain. ``core`` and ``tube`` are the darkest samples within their radius, so many mm above or
below: of both sides the darker and the lighter one. A ``ring`` is the mean of its samples in both
planes so far away: how black a dot is, how sharp its edge, and how soon it ends."""

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
        bbox: Half-open index ranges of the candidate along z, y, x; its middle is looked around.
        brain: Mask of the shape of the scan; None takes everything for brain.

    Returns:
        A number for each of `MEASURES`. Outside the scan it is dark.
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
    """Median, and standard deviation by the median absolute deviation."""
    if len(brain) < MIN_SURROUNDINGS:
        return NEITHER
    median = float(np.median(brain))
    if median <= 0.0:
        return NEITHER
    return median, SD_OF_MAD * float(np.median(np.abs(brain - median)))


def _interpolation(at: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Weights of `size` voxels for values at some places along an axis; none outside."""
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
    """Values on the samples, linear between voxels: the grid is aligned, each axis has its turn."""
    z, y, x = grid
    sampled: NDArray[np.float32] = y @ (np.tensordot(z, values, 1) @ x.T)
    return sampled


def _beyond(darkest: NDArray[np.float32]) -> Iterator[float]:
    """Of the darkest of each plane: the darker and the lighter side, at each distance."""
    for away in PLANES_AWAY:
        sides = float(darkest[_MIDDLE - away]), float(darkest[_MIDDLE + away])
        yield from (min(sides), max(sides))


def _sectors(plane: NDArray[np.float32]) -> Iterator[float]:
    """Means of the ring around the candidate by direction, from dark to bright."""
    means = sorted(float(plane[sector].mean()) for sector in _SECTORS)
    yield from (means[rank] for rank in SECTOR_RANKS)


def _rings(samples: NDArray[np.float32]) -> Iterator[float]:
    """Means of the rings at each distance, of the planes above and below together."""
    for away in RING_PLANES:
        plane = (samples[_MIDDLE - away] + samples[_MIDDLE + away]) / 2
        yield from (_RING_MEANS @ plane.ravel()).tolist()


def _share_of_brain(brain: NDArray[np.float32]) -> Iterator[float]:
    yield float(brain[_NEXT][:, _RADIUS < TUBE_MM].mean())
    yield float(brain[:, _RADIUS < AROUND_MM].mean())
