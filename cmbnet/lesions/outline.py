"""Outlines of candidates. A low threshold finds them, and their own highest value outlines them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.lesions.components import label_components
from cmbnet.lesions.measure import axial_axis, in_plane_diameters_mm
from cmbnet.lesions.rules import LesionRules, is_too_short
from cmbnet.volume import Volume


def outlined(probability: Volume, rules: LesionRules) -> NDArray[np.int32]:
    """Label the candidates: components that are cut back to a share of their highest probability.

    Thus a low threshold finds faint lesions, and a sure lesion has no wide rim. Neighbours that
    touch only by their rims come apart. If no piece of a component is `min_diameter_mm` long, the
    share is halved until one is, or until the threshold is reached.

    Args:
        probability: Values 0 to 1.
        rules: Rules of which `pixel_threshold`, `outline_share` and `min_diameter_mm` are used.

    Returns:
        Labels of the shape of the scan, int32, 0 outside candidates, numbered from 1 in any order.
    """
    mask = probability.data >= rules.pixel_threshold
    labels, count = label_components(mask)
    if not rules.outline_share or not count:
        return labels
    at = np.flatnonzero(mask)
    own_label = labels.ravel()[at].astype(np.int64)
    index = np.stack(np.unravel_index(at, labels.shape), axis=1)
    whole_mm = _diameters_mm(index, own_label - 1, probability.affine)
    for label, box in _boxes(index, own_label):
        if is_too_short(whole_mm[label - 1], rules):
            continue  # kept whole
        own = labels[box] == label
        pieces, number = _pieces(np.where(own, probability.data[box], 0), rules, probability.affine)
        labels[box][own & (pieces == 0)] = 0
        if number > 1:
            labels[box][pieces > 1] = (pieces + (count - 1))[pieces > 1]
            count += number - 1
    return labels


def _pieces(
    values: NDArray[Any], rules: LesionRules, affine: NDArray[np.float64]
) -> tuple[NDArray[np.int32], int]:
    """Label the remaining pieces of one component, and count them.

    Values are probabilities in the box of the component, 0 outside it.
    """
    level = rules.outline_share * min(float(values.max()), 1.0)
    while True:
        pieces, number = label_components(values >= level)
        index = np.argwhere(pieces)
        group = pieces[tuple(index.T)].astype(np.int64) - 1
        longest_mm = max(_diameters_mm(index, group, affine))
        if not is_too_short(longest_mm, rules) or level <= rules.pixel_threshold:
            return pieces, number
        level /= 2


def _diameters_mm(
    index: NDArray[np.int64], group: NDArray[np.int64], affine: NDArray[np.float64]
) -> list[float]:
    return in_plane_diameters_mm(index, group, affine, axial_axis(affine))


def _boxes(
    index: NDArray[np.int64], own: NDArray[np.int64]
) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Yield each label and the box of its voxels, which are given as a list (n, 3)."""
    order = np.argsort(own, kind="stable")
    labels, first = np.unique(own[order], return_index=True)
    index = index[order]
    start, stop = np.minimum.reduceat(index, first), np.maximum.reduceat(index, first) + 1
    for label, low, high in zip(labels.tolist(), start.tolist(), stop.tolist(), strict=True):
        yield label, tuple(itertools.starmap(slice, zip(low, high, strict=True)))
