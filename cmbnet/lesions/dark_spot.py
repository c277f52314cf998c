"""The outline of a dark spot at which a reader points, without a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cmbnet.lesions.outline import outlined
from cmbnet.lesions.rules import LesionRules
from cmbnet.lesions.surroundings import SD_OF_MAD
from cmbnet.volume import Volume

SNAP_MM: Final = 2.0
"""The darkest voxel within this distance of the click is meant."""

REACH_MM: Final = 6.0
"""Nothing farther from the darkest voxel belongs to the spot."""

SURROUNDINGS_MM: Final = (3.0, 10.0)
"""The brightness around the spot is the median between these distances."""

SHARE: Final = 0.5
"""Level of the outline: half way from the surroundings to the darkest voxel."""

NOISE_SD: Final = 4.0
"""A spot is at least this many robust standard deviations darker than its surroundings. The darkest
of the voxels within `SNAP_MM` is 2 to 3 darker by chance."""


def dark_spot(
    image: Volume, at: tuple[int, int, int], rules: LesionRules, *, share: float = SHARE
) -> NDArray[np.int64]:
    """Outline the dark spot at a voxel by the rule that outlines the model's candidates.

    How far a voxel lies from the surroundings to the darkest voxel takes the place of its
    probability.

    Args:
        image: The scan.
        at: Voxel (z, y, x) of the click.
        rules: Rules of which those of `outlined` are used.
        share: Level of the outline, from 0 to 1. A smaller one gives a wider outline.

    Returns:
        Ascending indices of its voxels in the flattened array of the scan. Where nothing is dark,
        it is a ball of `min_diameter_mm`.

    Raises:
        IndexError: If the voxel lies outside the scan.
    """
    if not all(0 <= n < size for n, size in zip(at, image.shape, strict=True)):
        raise IndexError(f"a voxel within {image.shape} is required, got {at}")
    reach_mm = SNAP_MM + SURROUNDINGS_MM[1]
    low = np.array(at) - np.ceil(reach_mm / np.array(image.spacing_mm)).astype(int)
    high = 2 * np.array(at) - low + 1
    low, high = np.maximum(low, 0), np.minimum(high, image.shape)
    window = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    values = image.data[window].astype(np.float32)
    places_mm = np.indices(values.shape).reshape(3, -1).T @ image.affine[:3, :3].T
    places_mm = places_mm.reshape(*values.shape, 3)

    def away_mm(voxel: NDArray[np.int64]) -> NDArray[np.float64]:
        offset = places_mm - places_mm[tuple(voxel)]
        distance: NDArray[np.float64] = np.sqrt((offset**2).sum(axis=-1))
        return distance

    click = np.array(at) - low
    near = np.where(away_mm(click) <= SNAP_MM, values, np.inf)
    seed = np.array(np.unravel_index(near.argmin(), near.shape))
    away = away_mm(seed)
    around = values[(away >= SURROUNDINGS_MM[0]) & (away <= SURROUNDINGS_MM[1])]
    brightness = float(np.median(around)) if len(around) else 0.0
    noise = SD_OF_MAD * float(np.median(np.abs(around - brightness))) if len(around) else 0.0
    depth = brightness - float(values[tuple(seed)])
    if depth <= NOISE_SD * noise or depth <= 0:
        spot = away_mm(click) <= rules.min_diameter_mm / 2
    else:
        darkness = ((brightness - values) / depth).clip(0, 1) * (away <= REACH_MM)
        wide = replace(rules, pixel_threshold=share / 2, outline_share=share)
        labels = outlined(Volume(darkness, image.affine), wide)
        spot = labels == labels[tuple(seed)]
    index = tuple((np.argwhere(spot) + low).T)
    return np.sort(np.ravel_multi_index(index, image.shape))
