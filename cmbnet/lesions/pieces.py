"""Labels whose pieces lie far apart: such labels name classes of lesions, not lesions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.lesions.components import label_components
from cmbnet.lesions.sizes import LARGEST_MM, exceeds


def distant_pieces(
    where: NDArray[np.int64], lesion: NDArray[Any], affine: NDArray[np.float64]
) -> Iterator[tuple[int, int, float]]:
    """Find lesions whose pieces lie further apart than a microbleed is large.

    `where` is the index (z, y, x) of every voxel, `lesion` the lesion of each, `affine` goes from
    index (z, y, x, 1) to mm.

    Yields:
        The lesion, the number of its pieces, and the distance in mm between the centres of the two
        furthest pieces.

    Examples:
        >>> where = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 20], [0, 0, 3], [0, 0, 5]])
        >>> list(distant_pieces(where, np.array([1, 1, 1, 2, 2]), np.eye(4)))
        [(1, 2, 19.5)]
    """
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    for number in np.unique(lesion).tolist():
        own = where[lesion == number]
        box = own.max(axis=0) - own.min(axis=0) + 1
        if not exceeds(float(np.linalg.norm(box * spacing_mm)), LARGEST_MM):
            continue
        dense = np.zeros(box, bool)
        dense[tuple((own - own.min(axis=0)).T)] = True
        labels, pieces = label_components(dense)
        if pieces > 1:
            places = [np.argwhere(labels == n).mean(axis=0) for n in range(1, pieces + 1)]
            centres = np.array(places) @ affine[:3, :3].T
            apart = float(np.linalg.norm(centres[:, None] - centres[None], axis=2).max())
            if exceeds(apart, LARGEST_MM):
                yield int(number), pieces, apart
