"""Small spheres that change the signal: analytic phase, averaged over points inside each voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.phantom.grid import FloatArray, Grid, broadcast
from cmbnet.phantom.scan import ComplexArray, ScanPlan

SUB_POINTS = (4, 3, 3)
"""Points per sub-slice voxel along z, y, x."""
FEW_SUB_POINTS = (3, 2, 2)
FEW_BELOW_PPM_MM3 = 1.0
"""Moment below which fewer points are as good."""

NEGLIGIBLE_PHASE_RAD = 0.08
"""A patch ends where the phase falls below this."""
MAX_REACH_MM = 16.0


@dataclass(frozen=True, slots=True)
class Sphere:
    """A sphere of other material."""

    centre_mm: NDArray[np.float64]  # (3,) z, y, x in the head
    radius_mm: float  # Its radius
    chi_ppm: float  # Susceptibility relative to the tissue around it
    signal: float  # Magnitude inside relative to the tissue around it

    @property
    def moment_ppm_mm3(self) -> float:
        """Susceptibility times volume: what the image sees from afar."""
        return self.chi_ppm * 4 / 3 * np.pi * self.radius_mm**3


def add_spheres(signal: ComplexArray, scan: ScanPlan, spheres: Sequence[Sphere]) -> None:
    """Multiply the signal, in place, by what a group of spheres does to it.

    Each voxel of the patch gets one complex factor: the mean over sub-points of
    ``gain * exp(i phase)``. That is exact while the background varies slowly over a voxel.
    `signal` is complex64 (z, y, x) on `scan.work`. The spheres of a lesion or mimic lie together.
    """
    radians = scan.protocol.radians_per_ppm
    moment = sum(abs(sphere.moment_ppm_mm3) for sphere in spheres)
    reach_mm = (radians * moment / (2 * np.pi * NEGLIGIBLE_PHASE_RAD)) ** (1 / 3)
    largest = max(sphere.radius_mm for sphere in spheres)
    spread = max(np.ptp([sphere.centre_mm for sphere in spheres], axis=0))
    reach_mm = min(max(reach_mm, largest + 1.0) + spread / 2, MAX_REACH_MM)
    centre = np.mean([sphere.centre_mm for sphere in spheres], axis=0)
    box = scan.work.box(centre - reach_mm, centre + reach_mm)
    n = [part.stop - part.start for part in box]
    if 0 in n:
        return
    sub = SUB_POINTS if moment > FEW_BELOW_PPM_MM3 else FEW_SUB_POINTS
    axes = [_sub_positions(scan.work, axis, box[axis], sub[axis]) for axis in range(3)]
    factor = _factor(axes, spheres, radians, scan.b0_zyx)
    factor = factor.reshape(n[0], sub[0], n[1], sub[1], n[2], sub[2]).mean(axis=(1, 3, 5))
    signal[box] *= factor.astype(np.complex64)


def _sub_positions(grid: Grid, axis: int, part: slice, count: int) -> FloatArray:
    """Positions in mm of the sub-points of a range of voxels along one axis."""
    offset = (np.arange(count) + 0.5) / count - 0.5
    index = (np.arange(part.start, part.stop)[:, None] + offset).ravel()
    return (index * grid.spacing_mm[axis] + grid.origin_mm[axis]).astype(np.float32)


def _factor(
    axes: list[FloatArray], spheres: Sequence[Sphere], radians: float, b0_zyx: NDArray[np.float64]
) -> ComplexArray:
    """Complex factor at every sub-point.

    Outside, the Lorentz-corrected field ``chi/3 (a/r)^3 (3 cos^2 - 1)``; inside, none.
    """
    shape = tuple(len(axis) for axis in axes)
    phase = np.zeros(shape, np.float32)
    gain = np.ones(shape, np.float32)
    bz, by, bx = (np.float32(part) for part in b0_zyx)
    for sphere in spheres:
        offsets = (a - np.float32(mm) for a, mm in zip(axes, sphere.centre_mm, strict=True))
        z, y, x = broadcast(*offsets)
        square = z * z + y * y + x * x + np.float32(1e-9)
        along = z * bz + y * by + x * bx
        scale = np.float32(radians * sphere.chi_ppm * sphere.radius_mm**3 / 3)
        field = scale * (3 * along * along / square - 1) / (square * np.sqrt(square))
        inside = square < sphere.radius_mm**2
        field[inside] = 0
        phase += field
        gain[inside] *= sphere.signal
    factor: ComplexArray = gain * np.exp(1j * phase)
    return factor
