"""The phase of small things: what is left of it when the smooth phase around is taken away."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phase.units import FloatArray, Phase
from cmbnet.volume import Volume

Box = tuple[slice, slice, slice]
ComplexArray = NDArray[np.complex64]

FAINTEST = 0.3
"""Least weight of a voxel that holds signal: where SWI is dark, its phase may still be good."""


def field_direction(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the main field as a unit vector (z, y, x) of the array's axes.

    Scanners place images in coordinates whose third axis, to superior, is that of the bore.

    Args:
        affine: (4, 4) from index (z, y, x, 1) to RAS+ mm.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    along: NDArray[np.float64] = np.linalg.solve(axes, np.array([0.0, 0.0, 1.0]))
    return along / np.linalg.norm(along)


def smooth(values: NDArray[Any], width_mm: float, volume: Volume) -> NDArray[Any]:
    """Average over a width, twice, in the planes across the main field.

    Slices of 2D scans have a phase of their own each, so that nothing is averaged across them.
    """
    across = int(np.argmax(np.abs(field_direction(volume.affine))))
    size = [
        1 if axis == across else max(3, round(width_mm / side) | 1)
        for axis, side in enumerate(volume.spacing_mm)
    ]
    for _ in range(2):
        values = ndimage.uniform_filter(values, size, mode="nearest")
    return values


def without_background(
    weight: FloatArray, phase: Phase, box: Box, width_mm: float, volume: Volume
) -> ComplexArray:
    """Return complex numbers with the local phase of a box and the weight of its voxels.

    The image is multiplied by the conjugate of its own smoothed copy (homodyne filter): nothing has
    to be unwrapped, and phase that the scanner filtered already passes unharmed.

    Args:
        weight: (z, y, x) float32 trust in the voxels of the box, 0 to 1.
        phase: The phase of the whole scan.
        box: Part of the scan.
        width_mm: Width of the smoothing.
        volume: Gives the grid.
    """
    radians = phase.radians(box)
    weight = weight * phase.filled[box[0]][:, None, None]
    real, imaginary = weight * np.cos(radians), weight * np.sin(radians)
    low = smooth(real, width_mm, volume) - 1j * smooth(imaginary, width_mm, volume)
    low /= np.maximum(np.abs(low), np.float32(1e-6))
    result: ComplexArray = ((real + 1j * imaginary) * low).astype(np.complex64)
    return result


def trust(image: NDArray[Any]) -> FloatArray:
    """Return the weight of voxels by their brightness, `FAINTEST` to 1; 0 where nothing is."""
    values = image.astype(np.float32)
    held = values > 0
    if not held.any():
        return np.zeros(values.shape, np.float32)
    values /= np.median(values[held])
    return np.where(held, np.clip(values, FAINTEST, 1), 0).astype(np.float32)
