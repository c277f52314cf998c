"""Sizes, places and shapes of labelled components, in mm.

This is how the *in-plane* diameter is defined. The plane is that of the slices. The slice axis is
the array axis that points most nearly along Superior (`axial_axis`), so the result does not depend
on the order of axes in a file. In every slice of a component, take the two pixel centres that lie
furthest apart. The in-plane diameter of the slice is their distance plus the extent of one pixel in
that direction. The pixel counts as the ellipse inscribed in it::

    d = |a - b| + sqrt((u_row * row_mm)^2 + (u_column * column_mm)^2),   u = (a - b) / |a - b|

Thus a row of n pixels of p mm is n * p mm long, and a single pixel is as long as its longer side. A
digitised disc of diameter D measures about D; the distance between outer corners would exceed it by
up to a pixel's diagonal. The diameter of a component is that of its longest slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Component:
    """The measures of one labelled component."""

    label: int  # Its value in the label array
    voxels: int  # Number of its voxels
    volume_mm3: float  # Their volume
    max_in_plane_diameter_mm: float  # Length in its longest slice, as the module defines it
    equivalent_diameter_mm: float  # Diameter of the ball of the same volume
    centroid_zyx: Triple  # Mean voxel index, fractional
    centroid_ras_mm: Triple  # The same place in the world, RAS+
    # Half-open index ranges (start, stop) along z, y, x
    bbox: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    z_extent_mm: float  # Number of slices it touches times their distance
    axes_mm: Triple  # Lengths of the axes of the ellipsoid of equal second moments, longest first
    # Longest axis over the middle one, at least 1: high for a tube, near 1 for a ball and for a
    # disc
    elongation: float

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The bounding box, as an index into arrays of shape (z, y, x)."""
        z, y, x = (slice(start, stop) for start, stop in self.bbox)
        return z, y, x


def spacing_affine(spacing_mm: Triple) -> NDArray[np.float64]:
    """Make the affine of an upright grid: z to Superior, y to Anterior, x to Right, origin at 0.

    The spacing is that of voxel centres along z, y, x.

    Examples:
        >>> (spacing_affine((2.0, 0.5, 0.6)) @ [1, 0, 0, 1]).tolist()
        [0.0, 0.0, 2.0, 1.0]
    """
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = spacing_mm
    affine[3, 3] = 1.0
    return affine


def axial_axis(affine: NDArray[np.float64]) -> int:
    """Return the array axis (0, 1 or 2) that points most nearly along Superior or Inferior.

    Examples:
        >>> axial_axis(spacing_affine((3.0, 0.5, 0.5)))
        0
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return int(np.argmax(np.abs(directions[2])))


def measure_components(
    labels: NDArray[Any], affine: NDArray[np.float64], *, slice_axis: int | None = None
) -> tuple[Component, ...]:
    """Measure every component of a label array.

    Args:
        labels: Shape (z, y, x), any integer dtype, 0 outside. Values need not be consecutive.
        affine: Affine from index (z, y, x, 1) to RAS+ mm, of shape (4, 4). If you know only the
            spacing, use `spacing_affine`.
        slice_axis: Array axis across the slices. None means `axial_axis(affine)`.

    Returns:
        One `Component` per label present, in the order of the labels.

    Raises:
        ValueError: If the labels are not a 3D array of integers.
    """
    if labels.ndim != 3 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"a 3D array of integer labels is required, got shape {labels.shape} of {labels.dtype}"
        )
    # A mask of bytes is searched several times as fast as labels.
    at = np.flatnonzero(labels != 0)
    if not len(at):
        return ()
    axis = axial_axis(affine) if slice_axis is None else slice_axis
    points = _Points(np.stack(np.unravel_index(at, labels.shape), axis=1), labels.ravel()[at])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    diameters = in_plane_diameters_mm(points.index, points.group, affine, axis)
    axes = points.axes_mm(affine)
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    return tuple(
        Component(
            label=int(points.values[n]),
            voxels=int(points.count[n]),
            volume_mm3=float(points.count[n] * voxel_mm3),
            max_in_plane_diameter_mm=diameters[n],
            equivalent_diameter_mm=float((6 * points.count[n] * voxel_mm3 / math.pi) ** (1 / 3)),
            centroid_zyx=_triple(points.centroid[n]),
            centroid_ras_mm=_triple(affine[:3, :3] @ points.centroid[n] + affine[:3, 3]),
            bbox=points.bbox(n),
            z_extent_mm=float((points.stop[n, axis] - points.start[n, axis]) * spacing[axis]),
            axes_mm=_triple(axes[n]),
            elongation=float(axes[n, 0] / axes[n, 1]),
        )
        for n in range(len(points.count))
    )


class _Points:
    """The labelled voxels as a list, sorted by label, then z, y, x.

    Args:
        index: Index of each voxel, of shape (n, 3), in the order z, y, x.
        values: Labels of the voxels, of shape (n,).
    """

    def __init__(self, index: NDArray[np.int64], values: NDArray[Any]) -> None:
        order = np.argsort(values, kind="stable")
        self.index = index[order]
        self.values, self.group = np.unique(values[order], return_inverse=True)
        self.count = np.bincount(self.group)
        self.centroid = self.mean(self.index.astype(np.float64))
        first = np.cumsum(self.count) - self.count
        self.start = np.minimum.reduceat(self.index, first)
        self.stop = np.maximum.reduceat(self.index, first) + 1

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of each column of (points, columns) in every component."""
        sums = [np.bincount(self.group, weights=column) for column in values.T]
        return np.stack(sums, axis=1) / self.count[:, np.newaxis]

    def bbox(self, n: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Return the half-open index ranges of component `n`."""
        (z0, y0, x0), (z1, y1, x1) = self.start[n].tolist(), self.stop[n].tolist()
        return (z0, z1), (y0, y1), (x0, x1)

    def axes_mm(self, affine: NDArray[np.float64]) -> NDArray[np.float64]:
        """Measure the axes (components, 3) of ellipsoids of equal second moments, longest first.

        A voxel is a box, not a point, so its own variance (side^2 / 12) is added. Without it, a
        lesion in a single slice would be infinitely flat. A ball of diameter D has the variance
        D^2 / 20 along every axis.
        """
        matrix = affine[:3, :3]
        offset_mm = (self.index - self.centroid[self.group]) @ matrix.T
        products = (offset_mm[:, :, np.newaxis] * offset_mm[:, np.newaxis, :]).reshape(-1, 9)
        covariance = self.mean(products).reshape(-1, 3, 3) + matrix @ matrix.T / 12
        variance = np.maximum(np.linalg.eigvalsh(covariance)[:, ::-1], 0)
        axes: NDArray[np.float64] = np.sqrt(20 * variance)
        return axes


def in_plane_diameters_mm(
    index: NDArray[np.int64], group: NDArray[np.int64], affine: NDArray[np.float64], axis: int
) -> list[float]:
    """Measure the maximum in-plane diameter of every component of a list of voxels.

    Args:
        index: Index (z, y, x) of each voxel, shape (voxels, 3).
        group: Component of each voxel, of shape (voxels,). Every number from 0 up occurs.
        affine: (4, 4), index to mm.
        axis: Array axis across the slices.

    Returns:
        The diameters in mm, one per component, in order.
    """
    row, column = (other for other in range(3) if other != axis)
    order = np.lexsort((index[:, column], index[:, row], index[:, axis], group))
    keys = np.stack([group[order], index[order, axis], index[order, row]], axis=1)
    # Only the ends of each row of pixels can belong to the furthest pair.
    new_row = np.any(keys[1:] != keys[:-1], axis=1)
    ends = np.concatenate([[True], new_row]) | np.concatenate([new_row, [True]])
    keys, plane = keys[ends], index[order][ends][:, [row, column]]
    new_slice = np.any(keys[1:, :2] != keys[:-1, :2], axis=1)
    starts = np.concatenate([[0], np.flatnonzero(new_slice) + 1, [len(keys)]])
    pixel_mm = np.linalg.norm(affine[:3, [row, column]], axis=0)
    diameters = [0.0] * (int(group.max()) + 1)
    for start, stop in pairwise(starts.tolist()):
        which = int(keys[start, 0])
        diameters[which] = max(diameters[which], _in_plane_diameter_mm(plane[start:stop], pixel_mm))
    return diameters


def _in_plane_diameter_mm(pixels: NDArray[np.int64], pixel_mm: NDArray[np.float64]) -> float:
    """Measure the diameter of the pixels (n, 2) of one slice, as the module defines it."""
    if len(pixels) == 1:
        return float(pixel_mm.max())
    between_mm = (pixels[:, np.newaxis] - pixels) * pixel_mm
    distance = np.hypot(between_mm[..., 0], between_mm[..., 1])
    furthest = distance >= distance.max() * (1 - 1e-12)
    direction = between_mm[furthest] / distance[furthest][:, np.newaxis]
    return float((distance[furthest] + np.linalg.norm(direction * pixel_mm, axis=1)).max())


def _triple(values: NDArray[np.float64]) -> Triple:
    """Return three plain floats."""
    z, y, x = values.tolist()
    return z, y, x
