"""Pixel level: voxel counts of a case and the metrics of counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class VoxelCounts:
    """Voxels of one case, counted inside the brain mask and outside the ignore region.

    Args:
        tp: True and predicted.
        fp: Predicted only.
        fn: True only.
        tn: Neither.
        voxel_mm3: Volume of a voxel.
    """

    tp: int
    fp: int
    fn: int
    tn: int
    voxel_mm3: float


def count_voxels(
    truth: NDArray[Any],
    predicted: NDArray[Any],
    *,
    voxel_mm3: float,
    brain: NDArray[np.bool_] | None = None,
    ignore: NDArray[np.bool_] | None = None,
) -> VoxelCounts:
    """Count the voxels of a case.

    Args:
        truth: Shape (z, y, x), not 0 where there is a lesion.
        predicted: The same grid.
        voxel_mm3: Volume of a voxel.
        brain: Where to count; everywhere if None.
        ignore: Where not to count.

    Raises:
        ValueError: If the shapes differ.

    Examples:
        >>> truth, predicted = np.array([[[1, 1, 0, 0]]]), np.array([[[0, 1, 1, 0]]])
        >>> count_voxels(truth, predicted, voxel_mm3=1.0)
        VoxelCounts(tp=1, fp=1, fn=1, tn=1, voxel_mm3=1.0)
    """
    shapes = {a.shape for a in (truth, predicted, brain, ignore) if a is not None}
    if len(shapes) > 1:
        raise ValueError(f"equal shapes are required, got {sorted(shapes)}")
    total = truth.size if brain is None else int(np.count_nonzero(brain))
    if ignore is not None:
        total -= int(np.count_nonzero(ignore if brain is None else ignore & brain))
    true_at = _counted(truth, brain, ignore)
    predicted_at = _counted(predicted, brain, ignore)
    tp = int(np.count_nonzero(predicted.ravel()[true_at]))
    fp, fn = len(predicted_at) - tp, len(true_at) - tp
    return VoxelCounts(tp=tp, fp=fp, fn=fn, tn=total - tp - fp - fn, voxel_mm3=voxel_mm3)


def _counted(
    labels: NDArray[Any], brain: NDArray[np.bool_] | None, ignore: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Flat indices of the labelled voxels that count; few, so cheap to index with."""
    where = np.flatnonzero(labels)
    if brain is not None:
        where = where[brain.ravel()[where]]
    if ignore is not None:
        where = where[~ignore.ravel()[where]]
    return where
