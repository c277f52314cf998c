"""The lesions of an image as a list of voxels, which is short: 1,000 of 10 million.

Everything after this reads the list and never the whole image again; that is why a case is scored
in hundredths of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.lesions import Component, label_components, measure_components
from cmbnet.volume import Volume

LARGEST_LABEL = 2**24
"""float32, in which files are read, holds every whole number up to here."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Lesions of one side of a case, numbered from 0.

    Args:
        shape: Of the image, (z, y, x).
        index: Flat index of every voxel of a lesion, ascending, shape (voxels,).
        lesion: Lesion of each of these voxels, 0 to `count` - 1.
        values: Value that each lesion has in the file, shape (count,): the instance label, or
            the number of the component where the file is a mask.
    """

    shape: tuple[int, int, int]
    index: NDArray[np.int64]
    lesion: NDArray[np.int64]
    values: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of lesions."""
        return len(self.values)

    @property
    def voxels(self) -> NDArray[np.int64]:
        """Number of voxels of each lesion, at least 1."""
        return np.bincount(self.lesion, minlength=self.count)

    def where(self) -> NDArray[np.int64]:
        """Index (z, y, x) of every voxel, shape (voxels, 3)."""
        return np.stack(np.unravel_index(self.index, self.shape), axis=1)

    def at(self, image: NDArray[Any]) -> NDArray[Any]:
        """Values of an image of the same shape at the voxels."""
        return image.ravel()[self.index]

    def share_inside(self, region: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number of voxels of each lesion inside a region."""
        return np.bincount(self.lesion[self.at(region)], minlength=self.count)

    def subset(self, keep: NDArray[np.bool_]) -> Labels:
        """Only some of the lesions, renumbered in order."""
        number = np.cumsum(keep) - 1
        inside = keep[self.lesion]
        return Labels(
            self.shape, self.index[inside], number[self.lesion[inside]], self.values[keep]
        )

    def dense(self) -> NDArray[np.int32]:
        """The image: 0 outside, 1 to `count` inside."""
        array = np.zeros(self.shape, np.int32)
        array.ravel()[self.index] = self.lesion + 1
        return array


def read_labels(volume: Volume) -> Labels:
    """List the lesions of a mask (26-connected components) or of instance labels (as they are).

    A file with one value besides 0 is a mask; one with several holds instance labels, whose
    lesions are what the file says, touching or not.

    Raises:
        InputRefused: If a value is not a whole number from 0 up, or not finite.

    Examples:
        >>> mask = Volume(np.array([[[1, 1, 0, 1]]]), np.eye(4))
        >>> read_labels(mask).lesion.tolist()
        [0, 0, 1]
        >>> instances = Volume(np.array([[[4, 7, 0, 4]]]), np.eye(4))
        >>> read_labels(instances).lesion.tolist(), read_labels(instances).values.tolist()
        ([0, 1, 0], [4, 7])
    """
    index = _not_zero(volume.data)
    own = volume.data.ravel()[index]
    values, lesion = np.unique(own, return_inverse=True)
    _require_labels(values, volume.source)
    if len(values) > 1:
        return Labels(volume.shape, index, lesion, values.astype(np.int64))
    lesion = _components(index, volume.shape)
    count = int(lesion.max(initial=-1)) + 1
    return Labels(volume.shape, index, lesion, np.arange(1, count + 1))


def _not_zero(data: NDArray[Any]) -> NDArray[np.int64]:
    """Flat indices of what is not 0, NaN included; slices without any are only glanced at."""
    rows = data.reshape(len(data), -1)
    occupied = rows.max(axis=1) != 0
    if data.dtype.kind not in "ub":
        occupied |= rows.min(axis=1) != 0
    slices = np.flatnonzero(occupied)
    some = np.flatnonzero(rows[slices] != 0)
    which, within = np.divmod(some, rows.shape[1])
    return slices[which] * rows.shape[1] + within


def _require_labels(values: NDArray[Any], source: str) -> None:
    if values.dtype.kind == "b":
        return
    bad = values[~(np.isfinite(values) & (values > 0) & (values == np.round(values)))]
    if len(bad):
        raise InputRefused(
            f"labels must be whole numbers from 0 up, got {bad[0]!s} in {source}. "
            "Threshold a soft mask before scoring it, or pass probabilities as such"
        )
    if len(values) and values[-1] > LARGEST_LABEL:
        raise InputRefused(f"labels up to 2^24 are allowed, got {values[-1]!s} in {source}")


def _components(index: NDArray[np.int64], shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Component of each voxel of a mask, numbered from 0.

    Planes without a lesion are cut out, all but one between two that have some: voxels that
    touched still touch, others still do not, and what is left to label is small.
    """
    if not len(index):
        return np.zeros(0, np.int64)
    planes = [_closed_up(axis) for axis in np.unravel_index(index, shape)]
    small = np.zeros([int(plane.max()) + 1 for plane in planes], bool)
    small[tuple(planes)] = True
    labels, _ = label_components(small)
    return labels[tuple(planes)].astype(np.int64) - 1


def _closed_up(planes: NDArray[np.int64]) -> NDArray[np.int64]:
    """New number of each plane, with gaps of several planes closed to one.

    Examples:
        >>> _closed_up(np.array([3, 4, 9, 9, 11])).tolist()
        [0, 1, 3, 3, 5]
    """
    present, back = np.unique(planes, return_inverse=True)
    steps = np.minimum(np.diff(present), 2)
    return np.concatenate([[0], np.cumsum(steps)])[back]


def measure(labels: Labels, affine: NDArray[np.float64]) -> tuple[Component, ...]:
    """Measure every lesion, in order; only sizes are meant to be used, places are `centroids_mm`.

    Each lesion is moved to a slab of its own of a small image, which changes no size.
    """
    if not labels.count:
        return ()
    where, order = labels.where(), np.argsort(labels.lesion, kind="stable")
    first = np.cumsum(labels.voxels) - labels.voxels
    low = np.minimum.reduceat(where[order], first)
    extent = np.maximum.reduceat(where[order], first) - low + 1
    place = where - low[labels.lesion]
    place[:, 0] += (np.cumsum(extent[:, 0]) - extent[:, 0])[labels.lesion]
    packed = np.zeros(
        (int(extent[:, 0].sum()), *(int(n) for n in extent[:, 1:].max(axis=0))), np.int32
    )
    packed[tuple(place.T)] = labels.lesion + 1
    return measure_components(packed, affine)


def centroids_mm(labels: Labels, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean position of the voxels of each lesion, RAS+ mm, shape (count, 3)."""
    sums = [np.bincount(labels.lesion, weights=axis, minlength=labels.count)
            for axis in labels.where().T]  # fmt: skip
    centroid = np.stack(sums, axis=1) / labels.voxels[:, np.newaxis]
    result: NDArray[np.float64] = centroid @ affine[:3, :3].T + affine[:3, 3]
    return result
