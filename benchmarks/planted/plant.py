"""The phantom's microbleeds in a scan that is there already: a real brain, simulated blooming.

The scan stays as it is but for one complex factor per voxel, the mean over the voxel of what the
field of a lesion does to the signal. That is exact while the scan varies slowly over a voxel, the
same assumption that the phantom makes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.acquisition import acquire
from cmbnet.phantom.grid import FloatArray, Grid
from cmbnet.phantom.lesions import Microbleed, draw_microbleed, expected_diameter_mm
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.regions import Region
from cmbnet.phantom.scan import SUB_SLICE_MM, ComplexArray, ScanPlan, average_sub_slices
from cmbnet.phantom.spheres import add_spheres
from cmbnet.phantom.truth import LesionTruth
from cmbnet.volume import Volume

LEAST_SHARE = 0.75
"""Darker than this share of its surroundings is a vein, iron or a sulcus: no place for a lesion."""
SURROUNDINGS_MM = 6.0
CLEARANCE_MM = 1.0
"""From the rim of a lesion to the next dark voxel and to the edge of the brain."""
TRIES = 200


@dataclass(frozen=True, slots=True)
class Copy:
    """A scan with lesions.

    Args:
        image: With them.
        without: As it was.
        labels: uint16 truth.
        ignore: uint8.
        rows: A row per lesion.
    """

    image: Volume
    without: Volume
    labels: NDArray[np.uint16]
    ignore: NDArray[np.uint8]
    rows: list[LesionTruth]


def scan_of(volume: Volume, protocol: Protocol) -> ScanPlan:
    """The scan that a volume came from.

    Args:
        volume: Slices first. Its own spacing counts, not that of the protocol.
        protocol: Field, echo time, gap and what was made of the phase.
    """
    spacing = volume.spacing_mm
    count = max(1, round(spacing[0] / SUB_SLICE_MM))
    thickness = spacing[0] / count
    shape = volume.shape
    first = -(spacing[0] - thickness) / 2
    return ScanPlan(
        protocol,
        Grid(shape, (0.0, 0.0, 0.0), spacing),
        Grid((shape[0] * count, *shape[1:]), (first, 0.0, 0.0), (thickness, *spacing[1:])),
        count,
        volume.affine[2, :3] / np.array(spacing),  # the main field points along S
    )


def plant(
    image: ComplexArray,
    scan: ScanPlan,
    lesions: list[Microbleed],
    *,
    noise_sd: float = 0.0,
    rng: np.random.Generator | None = None,
) -> ComplexArray:
    """Put microbleeds into an image.

    Args:
        image: (z, y, x) complex64 on `scan.grid`; a magnitude with phase 0 where none is known.
        scan: Its grid and protocol.
        lesions: What to put in; centres in mm of the grid.
        noise_sd: Standard deviation of real and imaginary part of the noise of the image. Where a
            lesion takes signal it takes noise as well, which is put back.
        rng: Source of that noise; needed where there is any.

    Returns:
        (z, y, x) complex64.
    """
    work = np.ones(scan.work.shape, np.complex64)
    for lesion in lesions:
        add_spheres(work, scan, lesion.spheres)
    share = average_sub_slices(work, scan)
    # The scan went through k-space once: only what changes goes through it now.
    planted: ComplexArray = image + acquire(image * (share - 1), scan.protocol)
    if noise_sd and rng is not None:
        lost = np.sqrt(np.maximum(1 - np.abs(share) ** 2, 0)).astype(np.float32)
        noise = rng.standard_normal((*scan.grid.shape, 2), np.float32) * np.float32(noise_sd)
        planted = planted + lost * noise.view(np.complex64)[..., 0]
    return planted


def free_distance_mm(
    magnitude: FloatArray, brain: NDArray[np.bool_], grid: Grid
) -> NDArray[np.float64]:
    """Distance of every voxel to the nearest dark structure, edge of the brain or of the image.

    Args:
        magnitude: (z, y, x).
        brain: (z, y, x).
        grid: Their grid.
    """
    sigma = [SURROUNDINGS_MM / 2 / mm for mm in grid.spacing_mm]
    weight = ndimage.gaussian_filter(brain.astype(np.float32), sigma)
    around = ndimage.gaussian_filter(np.where(brain, magnitude, 0).astype(np.float32), sigma)
    free = brain & (magnitude >= LEAST_SHARE * around / np.maximum(weight, 1e-3))
    distance = ndimage.distance_transform_edt(np.pad(free, 1), sampling=grid.spacing_mm)
    result: NDArray[np.float64] = distance[1:-1, 1:-1, 1:-1]
    return result


def place_in(
    rng: np.random.Generator,
    scan: ScanPlan,
    free_mm: NDArray[np.float64],
    moments: NDArray[np.float64],
) -> list[Microbleed]:
    """Put lesions anywhere in tissue, apart from each other and from what is dark.

    Args:
        rng: Source of randomness.
        scan: Grid and protocol.
        free_mm: Of `free_distance_mm`.
        moments: (n,) ppm mm3.

    Returns:
        At most n lesions; one that finds no place in `TRIES` attempts is left out.
    """
    lesions: list[Microbleed] = []
    taken: list[tuple[NDArray[np.float64], float]] = []
    for moment in moments.tolist():
        room_mm = expected_diameter_mm(moment) / 2 + CLEARANCE_MM
        for centre in _free_points(rng, scan.grid, free_mm >= room_mm):
            if all(np.linalg.norm(centre - other) > room_mm + keep for other, keep in taken):
                taken.append((centre, room_mm))
                lesions.append(draw_microbleed(rng, Region.NONE, centre, moment, scan.protocol))
                break
    return lesions


def _free_points(
    rng: np.random.Generator, grid: Grid, free: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """`TRIES` random points (n, 3) in mm within free voxels; none where none is free."""
    voxels = np.argwhere(free)
    if not len(voxels):
        return np.zeros((0, 3))
    chosen = voxels[rng.integers(len(voxels), size=TRIES)]
    return grid.points_of(chosen + rng.uniform(-0.5, 0.5, chosen.shape)).astype(np.float64)
