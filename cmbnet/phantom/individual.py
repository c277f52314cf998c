"""One person's head: how far it is from the average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.grid import FloatArray, Grid, resample, sample

VENTRICLES_MM = (18.0, -12.0, 0.0)
"""Centre (z, y, x) of the lateral ventricles in MNI space."""
SWELLING_RADII_MM = (24.0, 38.0, 22.0)


@dataclass(frozen=True, slots=True)
class Deformation:
    """Map from a head's own mm to MNI mm."""

    matrix: NDArray[np.float64]  # (3, 3) affine part, z, y, x
    displacement: FloatArray  # (3, z, y, x) what is added to it, mm, on `grid`
    grid: Grid  # Coarse grid of the displacement, in the head's mm

    @property
    def scale(self) -> float:
        """Size of the head relative to MNI space, per axis."""
        scale: float = 1 / abs(np.linalg.det(self.matrix)) ** (1 / 3)
        return scale

    def to_mni(self, points_mm: NDArray[np.floating]) -> FloatArray:
        """Map head positions (n, 3), z, y, x, to MNI positions."""
        moved = points_mm @ self.matrix.T.astype(np.float32)
        for axis in range(3):
            moved[:, axis] += sample(self.displacement[axis], self.grid, points_mm)
        return moved.astype(np.float32)

    def from_mni(self, points_mm: NDArray[np.floating]) -> FloatArray:
        """Map MNI positions (n, 3) to head positions by fixed-point iteration, to about 0.1 mm."""
        inverse = np.linalg.inv(self.matrix).astype(np.float32)
        target = np.asarray(points_mm, np.float32)
        points = target @ inverse.T
        for _ in range(8):
            points = points + 0.8 * (target - self.to_mni(points)) @ inverse.T
        return points.astype(np.float32)

    def on(self, grid: Grid) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the MNI coordinates z, y, x of every voxel of a grid of the head."""
        own = self.grid.axes_mm()
        coarse = [
            sum(self.matrix[axis, other] * own[other] for other in range(3))
            + self.displacement[axis]
            for axis in range(3)
        ]
        z, y, x = (resample(part.astype(np.float32), self.grid, grid) for part in coarse)
        return z, y, x


def draw_tilt(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the rotation (z, y, x) of a head, which nods more than it turns or leans."""
    return rotation_by(np.deg2rad(rng.normal(0, (7.0, 3.0, 4.0)).clip(-18, 18)))


def rotation_by(radians: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation (z, y, x) by pitch, roll and yaw."""
    rotation = np.eye(3)
    for angle, (first, second) in zip(radians, ((0, 1), (0, 2), (1, 2)), strict=True):
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    return rotation


def draw_deformation(
    rng: np.random.Generator, grid: Grid, *, scale: float, ventricles: float
) -> Deformation:
    """Draw a head: size, shear, smooth displacement of 36 and 12 mm, swollen ventricles.

    The grid covers the head. An adult has the scale 1. `ventricles` goes from 0 for young to 1 for
    clearly enlarged ones.
    """
    coarse = grid.coarser(max(1, round(4 * scale / grid.spacing_mm[0])))
    matrix = np.diag(rng.uniform(0.95, 1.06, 3)) + rng.normal(0, 0.012, (3, 3))
    matrix = matrix @ draw_tilt(rng) / scale
    displacement = np.zeros((3, *coarse.shape), np.float32)
    for amplitude_mm, sigma_mm in ((2.5, 36.0), (0.9, 12.0)):
        for axis in range(3):
            noise = ndimage.gaussian_filter(
                rng.standard_normal(coarse.shape, np.float32),
                sigma_mm * scale / coarse.spacing_mm[0], mode="wrap", truncate=3,
            )  # fmt: skip
            displacement[axis] += amplitude_mm * noise / noise.std()
    own = coarse.axes_mm()
    mni = [
        sum(matrix[axis, other] * own[other] for other in range(3)) + displacement[axis]
        for axis in range(3)
    ]
    square = sum(
        ((part - centre) / radius) ** 2
        for part, centre, radius in zip(mni, VENTRICLES_MM, SWELLING_RADII_MM, strict=True)
    )
    pull = 0.34 * ventricles * np.exp(-1.2 * square)
    for axis in range(3):
        displacement[axis] -= (pull * (mni[axis] - VENTRICLES_MM[axis])).astype(np.float32)
    return Deformation(matrix, displacement, coarse)
