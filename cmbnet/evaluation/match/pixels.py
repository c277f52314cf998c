"""Pixel level: the voxel counts of a case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.match.labels import Labels


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
