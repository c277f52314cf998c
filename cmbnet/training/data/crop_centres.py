"""Crop centres: the voxels of a case on which training crops may be centred. They are cached.

Centres are rows (z, y, x) of the middle voxel. Negatives that look like lesions matter most: the
dark centres are small dark blobs that stand out, mostly veins across the slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("lesion", "brain", "dark", "mimic")
"""Kinds of centres in a cache. Centres in a lesion have the number of the lesion."""

CENTRES_PER_KIND = 600
"""Largest number of brain and of dark centres of a case: ten in each of 60 slices."""

PIXELS_PER_CENTRE = 200
"""A component of a mimic with more pixels than this in a slice gets further centres."""

MIMICS_PER_LABEL = 80

BLOB_SIGMA_MM = 1.0
SURROUND_SIGMA_MM = 3.0
"""Widths of the difference of Gaussians that responds most to discs of 2 to 5 mm."""


@dataclass(frozen=True, slots=True)
class CropCentres:
    """The voxels of one case on which crops may be centred."""

    lesion: NDArray[np.int16]  # Rows (z, y, x, lesion), one for each lesion and slice, int16 (n, 4)
    brain: NDArray[np.int16]  # Random voxels of the brain, int16 (n, 3)
    dark: NDArray[np.int16]  # The darkest blobs other than lesions, int16 (n, 3)
    mimic: NDArray[np.int16]  # One or more centres for each labelled mimic and slice, int16 (n, 3)


def find_crop_centres(
    image: NDArray[Any],
    *,
    lesions: NDArray[Any],
    excluded: NDArray[Any],
    mimics: NDArray[Any],
    brain: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    seed: int = 0,
) -> CropCentres:
    """Find the centres of a case.

    The image is float32 (z, y, x) in [0, 1]; masks and integer labels have its shape. No negative
    is centred where `excluded` is set or a lesion lies. `mimics` has a label for each mimic or each
    kind.
    """
    free = np.asarray(brain, bool) & (lesions == 0) & ~np.asarray(excluded, bool)
    rng = np.random.default_rng(seed)
    voxels = np.argwhere(free).astype(np.int16)
    chosen = rng.choice(len(voxels), min(CENTRES_PER_KIND, len(voxels)), replace=False)
    return CropCentres(
        lesion=_slice_centres(lesions),
        brain=voxels[np.sort(chosen)],
        dark=_dark_blobs(image, free, spacing_mm),
        mimic=_mimic_pixels(np.where(free, mimics, 0), rng),
    )


def _slice_centres(labels: NDArray[Any]) -> NDArray[np.int16]:
    """Return rows (z, y, x, label): the centroid of every label in every slice it touches."""
    z, y, x = np.nonzero(labels)
    if len(z) == 0:
        return np.zeros((0, 4), np.int16)
    keys = np.stack([labels[z, y, x].astype(np.int64), z], axis=1)
    groups, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.reshape(-1)
    count = np.bincount(group)
    centre_y, centre_x = (np.rint(np.bincount(group, w) / count) for w in (y, x))
    return np.stack([groups[:, 1], centre_y, centre_x, groups[:, 0]], axis=1).astype(np.int16)


def _mimic_pixels(mimics: NDArray[Any], rng: Any) -> NDArray[np.int16]:
    """Draw random pixels of the 2D components of every label, at most `MIMICS_PER_LABEL` of each.

    Labels may be kinds of mimics. Without the limit, a thousand sections of veins would leave no
    room for a calcification.
    """
    from scipy import ndimage

    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = True
    rows = [np.zeros((0, 3), np.int16)]
    for value in np.unique(mimics[mimics > 0]):
        labels, _ = ndimage.label(mimics == value, in_plane)
        where = np.argwhere(labels).astype(np.int16)
        where = where[rng.permutation(len(where))]
        label = labels[tuple(where.T)]
        order = np.argsort(label, kind="stable")
        first = np.r_[0, np.cumsum(np.bincount(label)[1:])[:-1]]
        rank = np.arange(len(order)) - first[label[order] - 1]
        chosen = where[order[rank % PIXELS_PER_CENTRE == 0]]
        rows.append(chosen[rng.permutation(len(chosen))[:MIMICS_PER_LABEL]])
    return np.concatenate(rows)


def _dark_blobs(
    image: NDArray[Any], free: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.int16]:
    """Find the local minima in `free` that are darkest relative to their surroundings."""
    from scipy import ndimage

    in_plane = np.array([0.0, *spacing_mm[1:]])
    scale = np.divide(1.0, in_plane, out=np.zeros(3), where=in_plane > 0)
    values = np.asarray(image, np.float32)
    contrast = ndimage.gaussian_filter(values, BLOB_SIGMA_MM * scale)
    contrast -= ndimage.gaussian_filter(values, SURROUND_SIGMA_MM * scale)
    lowest = ndimage.minimum_filter(contrast, size=(1, 7, 7)) == contrast
    where = np.argwhere(lowest & free & (contrast < 0))
    order = np.argsort(contrast[tuple(where.T)], kind="stable")[:CENTRES_PER_KIND]
    return where[order].astype(np.int16)
