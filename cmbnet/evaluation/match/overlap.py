"""Voxels that true and predicted lesions share. Matching sees only this of the voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.match.labels import Labels, centroids_mm


@dataclass(frozen=True, slots=True)
class Overlap:
    """Sizes and shared voxels of the lesions of one case; lesions are numbered from 0."""

    truth_voxels: NDArray[np.int64]  # Voxels of each true lesion, at least 1
    predicted_voxels: NDArray[np.int64]  # Voxels of each predicted lesion, at least 1
    truth: NDArray[np.int64]  # True lesion of each overlapping pair
    predicted: NDArray[np.int64]  # Predicted lesion of each overlapping pair
    shared: NDArray[np.int64]  # Voxels shared by each pair, at least 1
    # Mean position of the voxels of each true lesion, shape (n, 3).
    truth_centroid_mm: NDArray[np.float64]
    # Mean position of the voxels of each predicted lesion.
    predicted_centroid_mm: NDArray[np.float64]

    @property
    def truth_covered(self) -> NDArray[np.int64]:
        """Return the number of voxels of each true lesion inside any predicted lesion."""
        return _sum_by(self.truth, self.shared, len(self.truth_voxels))

    @property
    def predicted_covered(self) -> NDArray[np.int64]:
        """Return the number of voxels of each predicted lesion inside any true lesion."""
        return _sum_by(self.predicted, self.shared, len(self.predicted_voxels))


def find_overlap(truth: Labels, predicted: Labels, affine: NDArray[np.float64]) -> Overlap:
    """Count the voxels that each true lesion shares with each predicted one.

    Raises:
        ValueError: If the shapes differ.

    Examples:
        >>> from cmbnet.evaluation.match.labels import read_labels
        >>> from cmbnet.volume import Volume
        >>> truth, predicted = (
        ...     read_labels(Volume(np.array([[row]]), np.eye(4)))
        ...     for row in ([1, 1, 0, 2], [0, 1, 1, 1])
        ... )
        >>> both = find_overlap(truth, predicted, np.eye(4))
        >>> both.truth.tolist(), both.predicted.tolist(), both.shared.tolist()
        ([0, 1], [0, 0], [1, 1])
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"equal shapes are required, got {truth.shape} and {predicted.shape}")
    _, mine, theirs = np.intersect1d(
        truth.index, predicted.index, assume_unique=True, return_indices=True
    )
    width = max(predicted.count, 1)
    codes, shared = np.unique(
        truth.lesion[mine] * width + predicted.lesion[theirs], return_counts=True
    )
    return Overlap(
        truth_voxels=truth.voxels,
        predicted_voxels=predicted.voxels,
        truth=codes // width,
        predicted=codes % width,
        shared=shared.astype(np.int64),
        truth_centroid_mm=centroids_mm(truth, affine),
        predicted_centroid_mm=centroids_mm(predicted, affine),
    )


def _sum_by(group: NDArray[np.int64], values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    sums = np.bincount(group, weights=values, minlength=count)
    return sums.astype(np.int64)


@dataclass(frozen=True, slots=True)
class VoxelCounts:
    """Voxels of one case, counted inside the brain mask and outside the ignore region."""

    tp: int  # True and predicted
    fp: int  # Predicted only
    fn: int  # True only
    tn: int  # Neither
    voxel_mm3: float  # Volume of a voxel


def count_voxels(
    truth: Labels,
    predicted: Labels,
    *,
    voxel_mm3: float,
    brain: NDArray[np.bool_] | None = None,
    ignore: NDArray[np.bool_] | None = None,
) -> VoxelCounts:
    """Count the voxels of a case inside the brain mask, if there is one, and outside `ignore`.

    Raises:
        ValueError: If the shapes differ.

    Examples:
        >>> from cmbnet.evaluation.match.labels import read_labels
        >>> from cmbnet.volume import Volume
        >>> truth, predicted = (
        ...     read_labels(Volume(np.array([[row]]), np.eye(4)))
        ...     for row in ([1, 1, 0, 0], [0, 1, 1, 0])
        ... )
        >>> count_voxels(truth, predicted, voxel_mm3=1.0)
        VoxelCounts(tp=1, fp=1, fn=1, tn=1, voxel_mm3=1.0)
    """
    shapes = {one.shape for one in (truth, predicted, brain, ignore) if one is not None}
    if len(shapes) > 1:
        raise ValueError(f"equal shapes are required, got {sorted(shapes)}")
    total = int(np.prod(truth.shape)) if brain is None else int(np.count_nonzero(brain))
    if ignore is not None:
        total -= int(np.count_nonzero(ignore if brain is None else ignore & brain))
    true_at, predicted_at = (counted(one, brain, ignore) for one in (truth, predicted))
    tp = len(np.intersect1d(true_at, predicted_at, assume_unique=True))
    fp, fn = len(predicted_at) - tp, len(true_at) - tp
    return VoxelCounts(tp=tp, fp=fp, fn=fn, tn=total - tp - fp - fn, voxel_mm3=voxel_mm3)


def counted(
    labels: Labels, brain: NDArray[np.bool_] | None, ignore: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Return flat indices of the voxels of lesions that count."""
    where = labels.index
    if brain is not None:
        where = where[brain.ravel()[where]]
    if ignore is not None:
        where = where[~ignore.ravel()[where]]
    return where
