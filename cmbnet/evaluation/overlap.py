"""How the lesions of two label arrays lie on each other: all that matching sees of voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Overlap:
    """Sizes and shared voxels of the lesions of one case; lesions are numbered from 0.

    Args:
        truth_voxels: Voxels of each true lesion, at least 1.
        predicted_voxels: Voxels of each predicted lesion, at least 1.
        truth: True lesion of each overlapping pair.
        predicted: Predicted lesion of each overlapping pair.
        shared: Voxels shared by each pair, at least 1.
        truth_centroid_mm: (n, 3), mean position of the voxels of each true lesion.
        predicted_centroid_mm: (n, 3), the same of the predicted lesions.
    """

    truth_voxels: NDArray[np.int64]
    predicted_voxels: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    shared: NDArray[np.int64]
    truth_centroid_mm: NDArray[np.float64]
    predicted_centroid_mm: NDArray[np.float64]

    @property
    def truth_covered(self) -> NDArray[np.int64]:
        """Voxels of each true lesion inside any predicted lesion."""
        return _sum_by(self.truth, self.shared, len(self.truth_voxels))

    @property
    def predicted_covered(self) -> NDArray[np.int64]:
        """Voxels of each predicted lesion inside any true lesion."""
        return _sum_by(self.predicted, self.shared, len(self.predicted_voxels))


def find_overlap(
    truth: NDArray[Any], predicted: NDArray[Any], affine: NDArray[np.float64]
) -> Overlap:
    """Count the voxels that each true lesion shares with each predicted one.

    Args:
        truth: Labels (z, y, x), 0 outside, 1 to n inside without gaps.
        predicted: Labels on the same grid, 1 to m without gaps.
        affine: (4, 4), index to mm.

    Raises:
        ValueError: If the shapes differ or a label from 1 to the highest is absent.

    Examples:
        >>> truth = np.array([[[1, 1, 0, 2]]])
        >>> predicted = np.array([[[0, 1, 1, 1]]])
        >>> both = find_overlap(truth, predicted, np.eye(4))
        >>> both.truth.tolist(), both.predicted.tolist(), both.shared.tolist()
        ([0, 1], [0, 0], [1, 1])
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"equal shapes are required, got {truth.shape} and {predicted.shape}")
    truth_voxels, truth_centroid = _side(truth, affine)
    predicted_voxels, predicted_centroid = _side(predicted, affine)
    inside = np.flatnonzero(truth)
    first = truth.ravel()[inside].astype(np.int64)
    second = predicted.ravel()[inside].astype(np.int64)
    both = second > 0
    width = len(predicted_voxels) + 1
    codes, shared = np.unique(first[both] * width + second[both], return_counts=True)
    return Overlap(
        truth_voxels=truth_voxels,
        predicted_voxels=predicted_voxels,
        truth=codes // width - 1,
        predicted=codes % width - 1,
        shared=shared.astype(np.int64),
        truth_centroid_mm=truth_centroid,
        predicted_centroid_mm=predicted_centroid,
    )


def _side(
    labels: NDArray[Any], affine: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    where = np.flatnonzero(labels)
    label = labels.ravel()[where].astype(np.int64) - 1
    voxels = np.bincount(label)
    if np.any(voxels == 0):
        raise ValueError("labels from 1 to the highest without gaps are required")
    index = np.stack(np.unravel_index(where, labels.shape), axis=1)
    sums = [np.bincount(label, weights=axis) for axis in index.T]
    centroid = np.stack(sums, axis=1) / voxels[:, None]
    return voxels, centroid @ affine[:3, :3].T + affine[:3, 3]


def _sum_by(group: NDArray[np.int64], values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    sums = np.bincount(group, weights=values, minlength=count)
    return sums.astype(np.int64)
