"""What of a lesion can be seen: the difference between two noise-free images.

The same head is imaged with and without its lesions. The relative drop ``1 - with / without`` of
the SWI defines the apparent lesion: the connected region where the drop is at least half its peak
and .2. What a reader could not see is no truth; it is marked to be ignored.

References:
    Greenberg et al. 2009, Lancet Neurology, doi:10.1016/S1474-4422(09)70013-4: a microbleed is
    round or ovoid, and at least half of it is surrounded by brain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.lesions.components import label_components
from cmbnet.lesions.measure import in_plane_diameters_mm, measure_components, spacing_affine
from cmbnet.lesions.sizes import LARGEST_MM, SMALLEST_MM, exceeds, reaches
from cmbnet.phantom.grid import FloatArray, Grid
from cmbnet.phantom.lesions import Microbleed

FAINTEST_DROP = 0.25
LEAST_DROP = 0.2
LEAST_CONTRAST_TO_NOISE = 3.0
REACH_MM = 9.0

LEAST_SURROUNDED = 0.5
"""Share of the rim around a lesion that must show tissue: inside a drop-out nobody tells a spot."""

RIM_MM = (1.0, 3.0)
"""The rim lies this far from the lesion in the same slices, beyond the blur of its edge."""

LEAST_ROUND = 0.4
"""Share of the disc of its diameter that a lesion fills in its largest slice. An ovoid twice as
long as wide fills half. Streaks that a microbleed makes of a line of wrapped phase, or of the edge
of a drop-out, fill less: docs/phantom.md."""

TISSUE_SHARE = 0.5
"""Tissue shows where a slice without lesions has this share of the signal of white matter."""


@dataclass(frozen=True, slots=True)
class LesionTruth:
    """A row of the lesion table."""

    lesion: int  # Label in the image of lesions; 0 where it is ignored
    # ``"truth"``, or why it is ignored: ``faint``, ``small``, ``large``, ``noise``, ``uneven``
    # (neither round nor ovoid), ``lost`` (too little tissue around it is to be seen), ``merged``
    status: str
    region: str  # Name of the region
    moment_ppm_mm3: float  # Susceptibility times volume
    chi_ppm: float  # Susceptibility
    physical_diameter_mm: float  # Of the ball of its volume
    diameter_mm: float  # Apparent, largest in a slice
    volume_mm3: float  # Apparent
    slices: int  # Number of slices it is apparent in
    peak_drop: float  # Largest relative loss of signal, 0 to 1
    z: float  # Voxel index of its centre in the stored image
    y: float  # The same along rows
    x: float  # The same along columns


def find_apparent(
    lesions: list[Microbleed],
    grid: Grid,
    with_lesions: FloatArray,
    without: FloatArray,
    *,
    noise: float,
    white: float,
    filled: bool = False,
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], list[LesionTruth]]:
    """Label what can be seen of each lesion.

    Images are noise-free SWI (z, y, x) with and without the lesions; `noise` is the standard
    deviation of the noise, `white` the value in white matter. Where there is less than a fifth of
    it nothing is seen. `filled` says whether a bright core belongs to its lesion. Return instance
    labels, ignore mask, and a row per lesion in the order given.
    """
    drop = np.where(without > 0.2 * white, 1 - with_lesions / np.maximum(without, 1e-6), 0)
    labels = np.zeros(grid.shape, np.uint16)
    ignore = np.zeros(grid.shape, np.uint8)
    rows = []
    centres = np.array([lesion.centre_mm for lesion in lesions]).reshape(-1, 3)
    for number, lesion in enumerate(lesions):
        box = grid.box(lesion.centre_mm - REACH_MM, lesion.centre_mm + REACH_MM)
        own = _nearest(grid, box, centres, number)
        region, peak = _grow(np.where(own, drop[box], 0), grid, box, lesion.centre_mm)
        if filled:
            region = _filled(region)
        contrast = float(np.max(np.where(region, drop[box] * without[box], 0), initial=0))
        surrounded = _surrounded(region, without[box] >= TISSUE_SHARE * white, grid)
        row = _measure(lesion, region, grid, peak, contrast / max(noise, 1e-9), surrounded)
        free = region & (labels[box] == 0) & ~_touches(labels, box)
        if row.status == "truth":
            labels[box][free] = number + 1
            ignore[box][region & ~free] = 1
        else:
            ignore[box][region] = 1
        rows.append(row)
    return _renumber(labels, ignore, rows)


def _nearest(
    grid: Grid, box: tuple[slice, slice, slice], centres: NDArray[np.float64], number: int
) -> NDArray[np.bool_]:
    """Voxels of a box that lie nearer to one lesion than to any other."""
    axes = [axis.ravel()[part] for axis, part in zip(grid.axes_mm(), box, strict=True)]
    near = np.linalg.norm(centres - centres[number], axis=1) < 2.5 * REACH_MM

    def square(centre: NDArray[np.float64]) -> NDArray[np.float64]:
        z, y, x = ((axis - mm) ** 2 for axis, mm in zip(axes, centre, strict=True))
        result: NDArray[np.float64] = z[:, None, None] + y[:, None] + x
        return result

    mine = square(centres[number])
    own = np.ones(mine.shape, bool)
    for other in np.flatnonzero(near):
        if other != number:
            own &= mine <= square(centres[other])
    return own


def _grow(
    drop: FloatArray, grid: Grid, box: tuple[slice, slice, slice], centre_mm: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], float]:
    """The connected region of at least half the peak, and the peak."""
    start = np.array([part.start for part in box])
    middle = np.rint(grid.index_of(centre_mm)).astype(int) - start
    reach = np.ceil(np.array([1.2, 2.0, 2.0]) / np.array(grid.spacing_mm)).astype(int)
    core = tuple(
        slice(max(int(m - r), 0), max(int(m + r) + 1, 0))
        for m, r in zip(middle, reach, strict=True)
    )
    part = drop[core]
    if part.size == 0:
        return np.zeros(drop.shape, bool), 0.0
    peak = float(part.max())
    if peak < 0.05:
        return np.zeros(drop.shape, bool), peak
    threshold = max(0.5 * peak, LEAST_DROP) if peak >= LEAST_DROP else 0.5 * peak
    labels, _ = label_components(drop >= threshold)
    at_peak = np.unravel_index(int(part.argmax()), part.shape)
    label = labels[core][at_peak]
    return labels == label, peak


def _filled(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A region with the holes of its slices."""
    in_plane = ndimage.generate_binary_structure(3, 1) & [[[False]], [[True]], [[False]]]
    result: NDArray[np.bool_] = ndimage.binary_fill_holes(region, in_plane)
    return result


def _touches(labels: NDArray[np.uint16], box: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
    """Voxels next to a lesion that is there already: two would become one component."""
    taken = labels[box] > 0
    if not taken.any():
        return taken
    result: NDArray[np.bool_] = ndimage.binary_dilation(taken, np.ones((3, 3, 3), bool))
    return result


def _surrounded(region: NDArray[np.bool_], tissue: NDArray[np.bool_], grid: Grid) -> float:
    """Share of the rim of a region that shows tissue, 0 to 1.

    1 where there is nothing to ask: no region, or pixels so large that none is in the rim.
    """
    slices = region.any(axis=(1, 2))
    if not slices.any():
        return 1.0
    inside, shown = region[slices], tissue[slices]
    # Apart by more than the box: the nearest voxel of the lesion is one of the same slice.
    sampling = (1e3, *grid.spacing_mm[1:])
    away_mm = ndimage.distance_transform_edt(~inside, sampling=sampling)
    rim = (away_mm > RIM_MM[0]) & (away_mm <= RIM_MM[1])
    return float(shown[rim].mean()) if rim.any() else 1.0


def _roundness(region: NDArray[np.bool_], grid: Grid) -> float:
    """Area of a region, in its largest slice, over that of the disc as long as it is there."""
    largest = region[int(region.sum(axis=(1, 2)).argmax())]
    index = np.argwhere(largest[np.newaxis])
    affine = spacing_affine(grid.spacing_mm)
    (length,) = in_plane_diameters_mm(index, np.zeros(len(index), np.int64), affine, axis=0)
    area = len(index) * grid.spacing_mm[1] * grid.spacing_mm[2]
    return float(area / (np.pi / 4 * length**2))


def _measure(
    lesion: Microbleed, region: NDArray[np.bool_], grid: Grid, peak: float, to_noise: float,
    surrounded: float,
) -> LesionTruth:  # fmt: skip
    found = measure_components(
        region.astype(np.int32), spacing_affine(grid.spacing_mm), slice_axis=0
    )
    diameter = found[0].max_in_plane_diameter_mm if found else 0.0
    status = "truth"
    if peak < FAINTEST_DROP:
        status = "faint"
    elif to_noise < LEAST_CONTRAST_TO_NOISE:
        status = "noise"
    elif not reaches(diameter, SMALLEST_MM):
        status = "small"
    elif exceeds(diameter, LARGEST_MM):
        status = "large"
    elif _roundness(region, grid) < LEAST_ROUND:
        status = "uneven"
    elif surrounded < LEAST_SURROUNDED:
        status = "lost"
    z, y, x = (float(part) for part in grid.index_of(lesion.centre_mm))
    return LesionTruth(
        0, status, lesion.region.name.lower(), lesion.moment_ppm_mm3, lesion.chi_ppm,
        lesion.physical_diameter_mm, diameter, found[0].volume_mm3 if found else 0.0,
        int(region.any(axis=(1, 2)).sum()), peak, z, y, x,
    )  # fmt: skip


def _renumber(
    labels: NDArray[np.uint16], ignore: NDArray[np.uint8], rows: list[LesionTruth]
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], list[LesionTruth]]:
    """Labels 1 to n without holes, and the rows that know them."""
    present = np.unique(labels)
    present = present[present > 0]
    lookup = np.zeros(len(rows) + 2, np.uint16)
    lookup[present] = np.arange(1, len(present) + 1)
    numbered = []
    for number, row in enumerate(rows, start=1):
        if row.status == "truth" and not lookup[number]:
            row = replace(row, status="merged")
        numbered.append(replace(row, lesion=int(lookup[number])))
    ignore[labels > 0] = 0
    return lookup[labels], ignore, numbered
