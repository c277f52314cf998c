"""The lesions of an image as a short list of voxels, such as 1,000 of 10 million.

All later steps read the list instead of the whole image, so a case is scored in hundredths of a
second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.lesions import axial_axis, distant_pieces, in_plane_diameters_mm, label_components
from cmbnet.volume import Volume

LARGEST_LABEL = 2**24
"""Largest label. Files are read as float32, which holds every whole number up to here."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Lesions of one side of a case, numbered from 0."""

    shape: tuple[int, int, int]  # Shape of the image, (z, y, x)
    index: NDArray[np.int64]  # Flat index of every voxel of a lesion, ascending, shape (voxels,)
    lesion: NDArray[np.int64]  # Lesion of each of these voxels, 0 to `count` - 1
    # Value of each lesion in the file, shape (count,): the instance label, or the number of the
    # component if the file is a mask.
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
        """Return the index (z, y, x) of every voxel, shape (voxels, 3)."""
        return np.stack(np.unravel_index(self.index, self.shape), axis=1)

    def at(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the values of an image of the same shape at the voxels."""
        return image.ravel()[self.index]

    def share_inside(self, region: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the number of voxels of each lesion inside a region."""
        return np.bincount(self.lesion[self.at(region)], minlength=self.count)

    def subset(self, keep: NDArray[np.bool_]) -> Labels:
        """Return only some of the lesions, renumbered in order."""
        number = np.cumsum(keep) - 1
        inside = keep[self.lesion]
        return Labels(
            self.shape, self.index[inside], number[self.lesion[inside]], self.values[keep]
        )

    def dense(self) -> NDArray[np.int32]:
        """Return the image with 0 outside and 1 to `count` inside lesions."""
        array = np.zeros(self.shape, np.int32)
        array.ravel()[self.index] = self.lesion + 1
        return array


def read_labels(volume: Volume) -> Labels:
    """List the lesions of a mask (26-connected components) or of instance labels (as they are).

    A file with one value besides 0 is a mask. A file with several values holds instance labels, and
    each label is a lesion, even if labels touch.

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
    values = np.unique(own)
    _require_labels(values, volume.source)
    if len(values) > 1:
        lesion = np.searchsorted(values, own)
        return Labels(volume.shape, index, lesion, values.astype(np.int64))
    lesion = _components(index, volume.shape)
    count = int(lesion.max(initial=-1)) + 1
    return Labels(volume.shape, index, lesion, np.arange(1, count + 1))


def scattered(labels: Labels, volume: Volume) -> list[str]:
    """Warn of labels that look like classes of lesions, because each label counts as one lesion."""
    return [
        f"label {labels.values[number]} has {pieces} pieces up to {apart_mm:.0f} mm apart, which "
        f"count as one lesion, in {volume.source}: if its values are classes and no instances, "
        "give each lesion a value of its own, or make a mask of 0 and 1"
        for number, pieces, apart_mm in distant_pieces(labels.where(), labels.lesion, volume.affine)
    ]


def _not_zero(data: NDArray[Any]) -> NDArray[np.int64]:
    """Return flat indices of the values that are not 0, NaN included.

    Empty slices and lines are skipped. `numpy.flatnonzero` takes 20 times as long.
    """
    lines = data.reshape(-1, data.shape[-1])
    slices = np.flatnonzero(_occupied(data.reshape(len(data), -1)))
    some = (slices[:, np.newaxis] * data.shape[1] + np.arange(data.shape[1])).ravel()
    some = some[_occupied(lines[some])]
    which, within = np.nonzero(lines[some])
    index: NDArray[np.int64] = some[which] * lines.shape[1] + within
    return index


def _occupied(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the rows that hold a value other than 0."""
    occupied: NDArray[np.bool_] = rows.max(axis=1) != 0
    if rows.dtype.kind not in "ub":  # below 0 is refused later, but must be seen
        occupied |= rows.min(axis=1) != 0
    return occupied


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
    """Return the component of each voxel of a mask, numbered from 0.

    Planes without a lesion are cut out, except one between two planes with lesions. So the same
    voxels touch as before, and the array to label is small.
    """
    if not len(index):
        return np.zeros(0, np.int64)
    planes = [_closed_up(axis) for axis in np.unravel_index(index, shape)]
    small = np.zeros([int(plane.max()) + 1 for plane in planes], bool)
    small[tuple(planes)] = True
    labels, _ = label_components(small)
    return labels[tuple(planes)].astype(np.int64) - 1


def _closed_up(planes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber planes, with gaps of several planes closed to one.

    Examples:
        >>> _closed_up(np.array([3, 4, 9, 9, 11])).tolist()
        [0, 1, 3, 3, 5]
    """
    present = np.flatnonzero(np.bincount(planes))
    number = np.zeros(int(present[-1]) + 1, np.int64)
    number[present[1:]] = np.cumsum(np.minimum(np.diff(present), 2))
    return number[planes]


def diameters_mm(labels: Labels, affine: NDArray[np.float64]) -> list[float]:
    """Measure the maximum in-plane diameter of every lesion, as `cmbnet.lesions` defines it."""
    if not labels.count:
        return []
    return in_plane_diameters_mm(labels.where(), labels.lesion, affine, axial_axis(affine))


def centroids_mm(labels: Labels, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean position of the voxels of each lesion, RAS+ mm, shape (count, 3)."""
    sums = [np.bincount(labels.lesion, weights=axis, minlength=labels.count)
            for axis in labels.where().T]  # fmt: skip
    centroid = np.stack(sums, axis=1) / labels.voxels[:, np.newaxis]
    result: NDArray[np.float64] = centroid @ affine[:3, :3].T + affine[:3, 3]
    return result
