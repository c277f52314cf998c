"""Connected components. This is the only labelling function of cmbnet."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""26-connectivity: voxels that share a face, an edge or a corner belong together."""

FEW = 1 / 256
"""If at most this share of a mask is set, its voxels are labelled as a list. A scan is large, and
lesions fill little of it."""


def label_components(mask: NDArray[Any]) -> tuple[NDArray[np.int32], int]:
    """Label the 26-connected components of a 3D mask.

    Args:
        mask: Array of shape (z, y, x), bool or any real dtype. Values other than zero are in the
            mask.

    Returns:
        Labels of shape (z, y, x), int32, 0 outside the mask and 1 to `count` inside, and `count`.
        The number follows the first voxel of the component along z, then y, then x.

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
    at = np.flatnonzero(mask if mask.dtype == bool else mask != 0)
    if not len(at):
        return labels, 0
    if len(at) > FEW * mask.size:
        return labels, int(ndimage.label(mask != 0, structure=TOUCHING, output=labels))
    first = _first_of_component(at, mask.shape)
    roots, numbers = np.unique(first, return_inverse=True)
    labels.ravel()[at] = numbers + 1
    return labels, len(roots)


def _first_of_component(at: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Find, for each voxel of a list of ascending flat indices, the first voxel of its component.

    Every voxel takes the lowest position that it and its neighbours know, until nothing changes.
    It then takes what that position knows, which doubles the reach each time.
    """
    _, rows, columns = shape
    # One empty voxel beyond the end of each line and slice: no neighbour wraps around.
    z, y, x = np.unravel_index(at, shape)
    padded = (z * (rows + 1) + y) * (columns + 1) + x
    first = np.arange(len(at))
    one, other = [], []
    for dz, dy, dx in itertools.product((-1, 0, 1), repeat=3):
        step = (dz * (rows + 1) + dy) * (columns + 1) + dx
        if step > 0:
            found = np.searchsorted(padded, padded + step)
            found[found == len(at)] = 0
            pairs = np.flatnonzero(padded[found] == padded + step)
            one.append(pairs)
            other.append(found[pairs])
    start, stop = np.concatenate(one), np.concatenate(other)
    while True:
        before = first.copy()
        lowest = np.minimum(first[start], first[stop])
        np.minimum.at(first, start, lowest)
        np.minimum.at(first, stop, lowest)
        first = first[first]
        if np.array_equal(first, before):
            return first
