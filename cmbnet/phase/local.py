"""The phase of small things: what is left of it when the smooth phase around is taken away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phase.units import FloatArray, Phase
from cmbnet.volume import Volume

Box = tuple[slice, slice, slice]
ComplexArray = NDArray[np.complex64]

SHOWN_MM: Final = 13.0
SHOWN_BACKGROUND_MM: Final = 8.0
"""Reach of the pictures around a candidate, and width of the background that they do without."""

FAINTEST: Final = 0.3
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


def near(
    centre: NDArray[np.float64], reach_mm: Sequence[float], scan: Volume
) -> tuple[Box, list[NDArray[np.float32]]]:
    """Return the box of what is this near to a voxel index along each axis, and distances, mm."""
    box, offsets = [], []
    for axis, side in enumerate(scan.spacing_mm):
        at, reach = centre[axis], reach_mm[axis] / side
        low = max(0, int(np.floor(at - reach)))
        high = max(low, min(scan.shape[axis], int(np.ceil(at + reach)) + 1))
        box.append(slice(low, high))
        shape = [-1 if axis == other else 1 for other in range(3)]
        offsets.append(((np.arange(low, high) - at) * side).astype(np.float32).reshape(shape))
    return (box[0], box[1], box[2]), offsets


def picture(
    phase: Phase, scan: Volume, centres_ras_mm: Iterable[tuple[float, float, float]]
) -> FloatArray:
    """Return the local phase around places for pictures, 0 to 1 for -pi to pi, elsewhere 0."""
    grey = np.zeros(scan.shape, np.float32)
    for centre_ras_mm in centres_ras_mm:
        centre = (np.linalg.inv(scan.affine) @ [*centre_ras_mm, 1.0])[:3]
        box, _ = near(centre, [SHOWN_MM] * 3, scan)
        local = without_background(trust(scan.data[box]), phase, box, SHOWN_BACKGROUND_MM, scan)
        grey[box] = np.angle(local) / np.float32(2 * np.pi) + np.float32(0.5)
    return grey
