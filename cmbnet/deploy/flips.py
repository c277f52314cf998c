"""Lesions that only one of two predictions has, and the reasons why the other lacks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cmbnet.lesions.lesion import Lesion
    from cmbnet.predict import Prediction


def left_over(first: NDArray[Any], second: NDArray[Any]) -> tuple[list[int], list[int]]:
    """Pair touching lesions one to one, and return those that are left over on either side.

    If the other side sees a lesion as two, one of them is left over.
    Labels are 0 outside; both sides lie on one grid. Return ascending labels of either side.

    Examples:
        >>> left_over(np.array([1, 1, 0, 2]), np.array([1, 2, 0, 0]))
        ([2], [2])
    """
    touching = (first > 0) & (second > 0)
    pairs = np.unique(np.stack([first[touching], second[touching]]).astype(np.int64), axis=1)
    shape = (int(first.max(initial=0)) + 1, int(second.max(initial=0)) + 1)
    graph = csr_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=shape)
    partners = maximum_bipartite_matching(graph, perm_type="column")
    taken = (set(np.flatnonzero(partners >= 0).tolist()), set(partners[partners >= 0].tolist()))
    present = (np.unique(labels[labels > 0]).tolist() for labels in (first, second))
    alone = [
        [label for label in all_of_it if label not in used]
        for all_of_it, used in zip(present, taken, strict=True)
    ]
    return alone[0], alone[1]


def describe_flips(reference: Prediction, artefact: Prediction) -> Iterator[str]:
    """Describe each lesion that only one of two predictions has, in one line."""
    sides = (("Keras", reference, artefact), ("the artefact", artefact, reference))
    alone = left_over(reference.found.labels, artefact.found.labels)
    for labels, (name, one, other) in zip(alone, sides, strict=True):
        for lesion in one.found.lesions:
            if lesion.id in labels:
                z, y, x = lesion.voxel_ijk[::-1]
                yield (
                    f"only by {name} at voxel {x} {y} {z}: "
                    f"{lesion.max_in_plane_diameter_mm:.2f} mm, {lesion.volume_mm3:.1f} mm3, "
                    f"score {lesion.score:.3f}; by the other {_why_not(lesion, one, other)}"
                )


def _why_not(lesion: Lesion, one: Prediction, other: Prediction) -> str:
    """Say why the other prediction lacks a lesion."""
    inside = one.found.labels == lesion.id
    if (other.found.labels[inside] > 0).any():
        return "it is one with another lesion, or in pieces"
    for candidate in other.found.excluded:
        if _overlap(candidate, lesion):
            return f"excluded: {candidate.reason}"
    highest = float(other.probability.data[inside].max())
    return f"no candidate: the highest probability there is {highest:.3f}"


def _overlap(first: Lesion, second: Lesion) -> bool:
    """Return whether the boxes around two lesions share a voxel."""
    return all(
        max(a[0], b[0]) < min(a[1], b[1]) for a, b in zip(first.bbox, second.bbox, strict=True)
    )
