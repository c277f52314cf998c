"""The overlap of the lesions of two label arrays. Matching sees only this of the voxels."""

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
