"""Distances and local means on coarse grids of cells, which is where scipy took most time."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from cmbnet.threads import in_slabs, in_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray


def distance_mm(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, ...], *, reach_mm: float
) -> NDArray[np.float64]:
    """Distance of each cell of a mask to the nearest one outside it.

    As `scipy.ndimage.distance_transform_edt` to the last bit wherever it is within reach; the
    squares are added along one axis after the other, which a few cells of reach make many times
    faster than the feature transform there. What lies beyond the array is not outside the mask.

    Args:
        mask: bool (z, y, x).
        spacing_mm: Distance between cells along each axis.
        reach_mm: How far is looked.

    Returns:
        mm, of the shape of the mask: 0 outside it, exact up to `reach_mm`, larger than it (and
        infinite in the end) beyond.

    Examples:
        >>> mask = np.array([[[False, True, True, True]]])
        >>> distance_mm(mask, (1.0, 1.0, 1.5), reach_mm=3.0)
        array([[[0. , 1.5, 3. , inf]]])
    """
    squares = np.where(mask, np.inf, 0.0)
    for axis, step_mm in enumerate(spacing_mm):
        nearest = squares.copy()
        # The axis first; second one along which slabs are independent of one another.
        first = (axis, 0 if axis else 1)
        source, target = (np.moveaxis(array, first, (0, 1)) for array in (squares, nearest))
        ways_mm = [(n + 1) * step_mm for n in range(math.ceil(reach_mm / step_mm))]
        in_slabs(
            partial(_lower, source, target, ways_mm[: len(source) - 1]), source.shape[1], slab=8
        )
        squares = nearest
    return np.sqrt(squares, out=squares)


def _lower(
    source: NDArray[np.float64], target: NDArray[np.float64], ways_mm: list[float], slab: slice
) -> None:
    """Along the first axis, lower squares to those of neighbours plus the square of the way."""
    squares, nearest = source[:, slab], target[:, slab]
    there = np.empty_like(squares)
    for cells, way_mm in enumerate(ways_mm, start=1):
        np.add(squares, way_mm**2, out=there)
        np.minimum(nearest[cells:], there[:-cells], out=nearest[cells:])
        np.minimum(nearest[:-cells], there[cells:], out=nearest[:-cells])


def mean_around(
    values: NDArray[np.float32],
    mask: NDArray[np.bool_],
    sigma: list[float],
    *,
    mode: Literal["nearest", "reflect"],
    least: float,
) -> NDArray[np.float32]:
    """Mean of what a mask holds around each cell, weighted by a Gaussian cut off at 2.5 sigma.

    Args:
        values: float32.
        mask: bool of the same shape: which cells count.
        sigma: Of the Gaussian along each axis, in cells.
        mode: What lies beyond the border, as scipy names it.
        least: Share of the Gaussian that the mask is taken to fill at least.
    """
    from scipy.ndimage import gaussian_filter

    weights = mask.astype(np.float32)
    total, weight = in_threads(
        [
            partial(gaussian_filter, array, sigma, mode=mode, truncate=2.5)
            for array in (values * weights, weights)
        ]
    )
    mean: NDArray[np.float32] = total / np.maximum(weight, least)
    return mean
