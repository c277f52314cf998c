"""One truth from the labels of several readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import require
from cmbnet.lesions import label_components

Consensus = Literal["majority", "staple"]


def agreed(
    labels: Sequence[NDArray[np.int32]], how: Consensus = "majority"
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Combine the labels of readers of one scan.

    Args:
        labels: Instance labels (z, y, x) of each reader. Those of a single reader stay.
        how: ``majority`` takes voxels that more than half of the readers marked. ``staple`` weighs
            the readers by their agreement (Warfield et al. 2004, doi:10.1109/TMI.2004.828354).

    Returns:
        Instance labels, and the mask of the voxels that just half of the readers marked.

    Raises:
        MissingExtra: If STAPLE is wanted and SimpleITK is not installed.
    """
    if len(labels) == 1:
        return labels[0], np.zeros(labels[0].shape, bool)
    marked = [one > 0 for one in labels]
    votes = np.sum(marked, axis=0)
    even = votes * 2 == len(labels)
    if how == "staple" and votes.any():
        truth = _staple(marked)
        return label_components(truth)[0], even & ~truth
    return label_components(votes * 2 > len(labels))[0], even


def _staple(marked: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    require("SimpleITK", extra="train", purpose="to find a consensus by STAPLE")
    import SimpleITK

    images = [SimpleITK.GetImageFromArray(one.astype(np.uint8)) for one in marked]
    likely = SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(images, 1.0))
    truth: NDArray[np.bool_] = likely > 0.5
    return truth
