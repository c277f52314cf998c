"""Resampling along one axis as a banded matrix, applied in blocks by matrix multiplication.

Dense multiplication of only the blocks near the diagonal is several times faster than gathering
(measured in benchmarks/preprocess.py). The same code does linear, averaging and flipped sampling.
Slabs of slices go through it in threads, and all that a slab needs stays in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cmbnet.threads import in_slabs

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

_BLOCK: Final = 16
"""Output samples per block. A larger block has less overhead and multiplies more zeros."""


def sampling_matrix(
    n_in: int, positions: NDArray[np.float64], *, support: float = 1.0
) -> NDArray[np.float32]:
    """Make the weights that sample an axis linearly at fractional positions.

    Args:
        n_in: Number of samples of the axis.
        positions: Index on the axis for each output, in any range.
        support: Half width of the triangle in samples. 1 is linear interpolation. A larger width
            averages, and prevents aliasing.

    Returns:
        Weights of shape (n_out, n_in), float32. A row sums to 1. If its position lies outside the
        axis (more than half a sample beyond the last centre), the row is 0.
    """
    inside = (positions >= -0.5) & (positions <= n_in - 0.5)
    clamped = np.clip(positions, 0, n_in - 1)
    distance = np.abs(clamped[:, None] - np.arange(n_in)[None, :])
    weights: NDArray[np.float64] = np.maximum(1.0 - distance / support, 0.0) * inside[:, None]
    total = weights.sum(axis=1, keepdims=True)
    weights /= np.where(total > 0, total, 1.0)
    return weights.astype(np.float32)


def averaging_matrix(n_in: int, step: float) -> NDArray[np.float32]:
    """Make the weights that average an axis in cells of `step` samples.

    Returns:
        Weights of shape (ceil(n_in / step), n_in), float32. Rows sum to 1. The last cell may have
        fewer samples.
    """
    n_out = int(np.ceil(n_in / step - 1e-9))
    edges = np.minimum(np.arange(n_out + 1) * step, n_in)
    index = np.arange(n_in)
    overlap = np.minimum(edges[1:, None], index + 1) - np.maximum(edges[:-1, None], index)
    weights: NDArray[np.float64] = np.maximum(overlap, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Band:
    """A block of output samples, with the range of input samples that make them."""

    rows: slice
    columns: slice
    weights: NDArray[np.float32]


class PlaneResampler:
    """Resample slices (z, y_in, x_in) along y and x to (z, y_out, x_out).

    `rows` are weights (y_out, y_in), `columns` weights (x_out, x_in), float32.
    """

    def __init__(self, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> None:
        self.shape = len(rows), len(columns)
        self._rows = _bands(rows)
        self._columns = [
            _Band(band.rows, band.columns, np.ascontiguousarray(band.weights.T))
            for band in _bands(columns)
        ]

    def __call__(self, slices: NDArray[Any]) -> NDArray[np.float32]:
        """Resample some slices, of any dtype and strides."""
        slices = np.ascontiguousarray(slices, np.float32)
        turned = np.zeros((len(slices), self.shape[0], slices.shape[2]), np.float32)
        for band in self._rows:
            np.matmul(band.weights, slices[:, band.columns, :], out=turned[:, band.rows, :])
        result = np.zeros((len(slices), *self.shape), np.float32)
        for band in self._columns:
            np.matmul(turned[:, :, band.columns], band.weights, out=result[:, :, band.rows])
        return result

    def all_slices(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Resample a whole scan, in threads."""
        result = np.empty((len(image), *self.shape), np.float32)

        def fill(slab: slice) -> None:
            result[slab] = self(image[slab])

        in_slabs(fill, len(image))
        return result


def _bands(matrix: NDArray[np.float32]) -> list[_Band]:
    """Split a matrix into blocks of rows, each with the range of columns that are not all zero."""
    bands = []
    for start in range(0, matrix.shape[0], _BLOCK):
        rows = slice(start, min(start + _BLOCK, matrix.shape[0]))
        used = np.flatnonzero(matrix[rows].any(axis=0))
        if used.size:
            columns = slice(int(used[0]), int(used[-1]) + 1)
            bands.append(_Band(rows, columns, np.ascontiguousarray(matrix[rows, columns])))
    return bands
