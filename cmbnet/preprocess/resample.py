"""Resampling along one axis as a banded matrix, applied in blocks by matrix multiplication.

Dense multiplication of only the blocks near the diagonal is several times faster than gathering
(measured in benchmarks/preprocess.py) and makes linear, averaging and flipped sampling one code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK: Final = 32
"""Output samples a block: what is multiplied in vain grows with it, the overhead shrinks."""

_SLAB: Final = 2
"""Slices at a time: what lies between the two products then stays in the cache."""


def sampling_matrix(
    n_in: int, positions: NDArray[np.float64], *, support: float = 1.0
) -> NDArray[np.float32]:
    """Weights that sample an axis at fractional positions, linearly.

    Args:
        n_in: Number of samples of the axis.
        positions: Index on the axis for each output, any range.
        support: Half width of the triangle in samples. 1 is linear interpolation; a larger one
            averages, against aliasing.

    Returns:
        (n_out, n_in) float32; a row sums to 1, or is 0 where the position lies outside the axis
        (more than half a sample beyond the last centre).
    """
    inside = (positions >= -0.5) & (positions <= n_in - 0.5)
    clamped = np.clip(positions, 0, n_in - 1)
    distance = np.abs(clamped[:, None] - np.arange(n_in)[None, :])
    weights: NDArray[np.float64] = np.maximum(1.0 - distance / support, 0.0) * inside[:, None]
    total = weights.sum(axis=1, keepdims=True)
    weights /= np.where(total > 0, total, 1.0)
    return weights.astype(np.float32)


def averaging_matrix(n_in: int, step: float) -> NDArray[np.float32]:
    """Weights that average an axis in cells of `step` samples; the last cell may be smaller.

    Returns:
        (ceil(n_in / step), n_in) float32, rows sum to 1.
    """
    n_out = int(np.ceil(n_in / step - 1e-9))
    edges = np.minimum(np.arange(n_out + 1) * step, n_in)
    index = np.arange(n_in)
    overlap = np.minimum(edges[1:, None], index + 1) - np.maximum(edges[:-1, None], index)
    weights: NDArray[np.float64] = np.maximum(overlap, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


def apply_rows(matrix: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply along y: (z, n_in, x) to (z, n_out, x)."""
    result = np.zeros((image.shape[0], matrix.shape[0], image.shape[2]), np.float32)
    for rows, columns in _bands(matrix):
        band = np.ascontiguousarray(matrix[rows, columns])
        np.matmul(band, image[:, columns, :], out=result[:, rows, :])
    return result


def apply_columns(matrix: NDArray[np.float32], image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply along x: (z, y, n_in) to (z, y, n_out)."""
    result = np.zeros((*image.shape[:2], matrix.shape[0]), np.float32)
    for rows, columns in _bands(matrix):
        band = np.ascontiguousarray(matrix[rows, columns].T)
        np.matmul(image[:, :, columns], band, out=result[:, :, rows])
    return result


def apply_planes(
    rows: NDArray[np.float32], columns: NDArray[np.float32], image: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Multiply along y and x: (z, y_in, x_in) to (z, y_out, x_out)."""
    result = np.empty((len(image), len(rows), len(columns)), np.float32)
    for start in range(0, len(image), _SLAB):
        slab = slice(start, start + _SLAB)
        result[slab] = apply_columns(columns, apply_rows(rows, image[slab]))
    return result


def _bands(matrix: NDArray[np.float32]) -> list[tuple[slice, slice]]:
    """Blocks of rows with the range of columns in which they are not all zero."""
    bands = []
    for start in range(0, matrix.shape[0], _BLOCK):
        rows = slice(start, min(start + _BLOCK, matrix.shape[0]))
        used = np.flatnonzero(matrix[rows].any(axis=0))
        if used.size:
            bands.append((rows, slice(int(used[0]), int(used[-1]) + 1)))
    return bands
