"""Connected components: the only labelling function of cmbnet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""26-connectivity: voxels that share a face, an edge or a corner belong together."""


def label_components(mask: NDArray[Any]) -> tuple[NDArray[np.int32], int]:
    """Label the 26-connected components of a 3D mask.

    Args:
        mask: Shape (z, y, x), bool or any real dtype; what is not zero is mask.

    Returns:
        Labels of shape (z, y, x), int32, 0 outside the mask and 1 to `count` inside, numbered
        by the first voxel met along z, then y, then x; and `count`.

    Raises:
        ValueError: If the mask is not 3D.

    Examples:
        >>> mask = np.zeros((2, 3, 3), bool)
        >>> mask[0, 0, 0] = mask[1, 1, 1] = True  # they share a corner
        >>> label_components(mask)[1]
        1
    """
    if mask.ndim != 3:
        raise ValueError(f"a mask of 3 dimensions is required, got shape {mask.shape}")
    labels = np.zeros(mask.shape, dtype=np.int32)
    box = occupied_box(mask)
    if box is None:
        return labels, 0
    # Lesions fill a small part of a scan: labelling the box alone is several times quicker.
    count = ndimage.label(mask[box] != 0, structure=TOUCHING, output=labels[box])
    return labels, int(count)


def occupied_box(mask: NDArray[Any]) -> tuple[slice, slice, slice] | None:
    """Smallest box that holds every voxel that is not zero, or None if there is none.

    Args:
        mask: Shape (z, y, x), any real dtype.

    Returns:
        Slices along z, y, x.
    """
    z = _span(np.any(mask, axis=(1, 2)))
    rows = np.any(mask[z], axis=0)
    y, x = _span(np.any(rows, axis=1)), _span(np.any(rows, axis=0))
    return (z, y, x) if z.stop else None


def _span(occupied: Any) -> slice:
    """From the first to the last True of a line; empty at 0 if there is none."""
    where = np.flatnonzero(occupied)
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)
