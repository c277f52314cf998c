"""Regular grids in mm and resampling between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float32]
Box = tuple[slice, slice, slice]


def broadcast(
    z: NDArray[Any], y: NDArray[Any], x: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Shape lines of values along z, y, x so that they broadcast against each other."""
    return z[:, None, None], y[None, :, None], x[None, None, :]


@dataclass(frozen=True, slots=True)
class Grid:
    """An axis-parallel grid."""

    shape: tuple[int, int, int]  # Voxels along z, y, x
    origin_mm: tuple[float, float, float]  # Position (z, y, x) of the centre of voxel (0, 0, 0)
    spacing_mm: tuple[float, float, float]  # Voxel size z, y, x

    def axes_mm(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return positions along z, y, x, shaped to broadcast against each other."""
        parts = zip(self.shape, self.origin_mm, self.spacing_mm, strict=True)
        return broadcast(*(np.arange(n, dtype=np.float32) * s + o for n, o, s in parts))

    def index_of(self, points_mm: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return fractional voxel indices (n, 3) of positions (n, 3) in mm."""
        origin = np.asarray(self.origin_mm, np.float32)
        return ((points_mm - origin) / np.asarray(self.spacing_mm, np.float32)).astype(np.float32)

    def points_of(self, index: NDArray[Any]) -> NDArray[np.float32]:
        """Return positions (n, 3) in mm of voxel indices (n, 3)."""
        scaled = index * np.asarray(self.spacing_mm, np.float32)
        return (scaled + np.asarray(self.origin_mm, np.float32)).astype(np.float32)

    def nearest(self, points_mm: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the indices (n, 3) nearest to positions (n, 3), even outside the grid."""
        return np.rint(self.index_of(points_mm)).astype(np.int64)

    def box(self, low_mm: NDArray[np.floating], high_mm: NDArray[np.floating]) -> Box:
        """Return the voxels that a box in mm touches, as an index. It is empty outside the grid."""
        low = np.maximum(np.floor(self.index_of(low_mm)).astype(int), 0)
        high = np.minimum(np.ceil(self.index_of(high_mm)).astype(int) + 1, self.shape)
        z, y, x = (slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))
        return z, y, x

    def coarser(self, factor: int) -> Grid:
        """Return a grid of voxels larger by a factor that covers at least the same box."""
        shape = tuple(-(-n // factor) + 1 for n in self.shape)
        spacing = tuple(s * factor for s in self.spacing_mm)
        return Grid(shape, self.origin_mm, spacing)  # type: ignore[arg-type]


def random_points(
    rng: np.random.Generator,
    grid: Grid,
    where: NDArray[np.bool_],
    count: int,
    *,
    jitter: bool = False,
) -> FloatArray:
    """Draw random positions (count, 3) of a mask in mm, or none if the mask is empty.

    With `jitter` they may lie anywhere in a voxel, not only in its middle.
    """
    candidates = np.flatnonzero(where)
    if not len(candidates) or not count:
        return np.zeros((0, 3), np.float32)
    chosen = candidates[rng.integers(0, len(candidates), count)]
    index = np.stack(np.unravel_index(chosen, where.shape), axis=1)
    return grid.points_of(index + rng.uniform(-0.5, 0.5, index.shape) if jitter else index)


def weighted_points(
    rng: np.random.Generator,
    grid: Grid,
    where: NDArray[np.int64],
    weight: NDArray[np.floating],
    count: int,
) -> NDArray[np.float64]:
    """Draw positions (count, 3) in mm within voxels (flat indices) by their weights."""
    summed = np.cumsum(weight, dtype=np.float64)
    if not len(summed) or summed[-1] <= 0:
        return np.zeros((0, 3))
    chosen = where[np.searchsorted(summed, rng.random(count) * summed[-1])]
    index = np.stack(np.unravel_index(chosen, grid.shape), axis=1)
    return grid.points_of(index + rng.uniform(-0.5, 0.5, index.shape)).astype(float)


def sample(values: NDArray[Any], grid: Grid, points_mm: NDArray[np.floating]) -> FloatArray:
    """Interpolate linearly at positions (n, 3) in mm. The value at the edge holds outside."""
    result: FloatArray = ndimage.map_coordinates(
        values, grid.index_of(points_mm).T, order=1, mode="nearest", output=np.float32
    )
    return result


def resample(
    values: NDArray[Any], source: Grid, target: Grid, *, outside: float | None = None
) -> FloatArray:
    """Interpolate one axis-parallel grid linearly at another in the same coordinates.

    `outside` is the value beyond the source; None repeats the edge.
    """
    # One axis after the other: several times quicker than scipy.ndimage.affine_transform.
    result = values
    for axis in range(3):
        n = source.shape[axis]
        at = np.arange(target.shape[axis]) * target.spacing_mm[axis] + target.origin_mm[axis]
        at = (at - source.origin_mm[axis]) / source.spacing_mm[axis]
        result = _along(result, axis, np.clip(at, 0, n - 1))
        if outside is not None:
            beyond = (at < -0.5) | (at > n - 0.5)
            result[tuple(beyond if other == axis else slice(None) for other in range(3))] = outside
    return result


def _along(values: NDArray[Any], axis: int, at: NDArray[np.float64]) -> FloatArray:
    """Linear interpolation along one axis at fractional indices within the array."""
    shape = [-1 if other == axis else 1 for other in range(3)]
    first = np.minimum(at.astype(np.intp), max(values.shape[axis] - 2, 0))
    weight = (at - first).astype(np.float32).reshape(shape)
    result: FloatArray = np.take(values, first, axis).astype(np.float32, copy=False)
    step = np.take(values, np.minimum(first + 1, values.shape[axis] - 1), axis)
    step = np.subtract(step, result, dtype=np.float32)
    step *= weight
    result += step
    return result
