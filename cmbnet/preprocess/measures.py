"""The measures of a prepared scan on which the quality gate decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cmbnet.preprocess.brain import cells_of
from cmbnet.preprocess.cells import distance_mm, mean_around
from cmbnet.preprocess.intensity import median
from cmbnet.threads import in_slabs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cmbnet.preprocess.case import PreparedCase
    from cmbnet.volume import Volume

CELL_MM: Final = 3.0
"""Size of the cells for structure. Noise averages out, and ventricles and sinuses remain."""

INNER_MM: Final = 10.0
"""Depth below the surface of the mask from which tissue counts as inside."""

DEEP_MM: Final = 15.0
"""Depth that drop-out at the skull base does not reach."""

_SHADING_CELLS_MM: Final = 12.0
_DARK: Final = 0.45
_BRIGHT: Final = 1.3
_BOX_FRACTION: Final = 0.5
_MAD_TO_SIGMA: Final = 1.4826
_ENOUGH_CELLS: Final = 50


@dataclass(frozen=True, slots=True)
class QualityMeasures:
    """The measures of a scan that the gate uses."""

    brain_ml: float  # Volume of the brain mask
    # Area of the mask in the lowest and the highest slice of the scan, relative to its largest
    end_area: tuple[float, float]
    # Standard deviation of the grain in the middle of the brain on the native grid, relative to the
    # white-matter peak. Grain is the difference of a voxel from the mean of its two neighbours.
    noise: float
    structure: float  # Standard deviation of 3 mm cells against the 12 mm neighbourhood, inside
    deep_dark: float  # Fraction of deep cells darker than 0.45 x their neighbourhood
    # How unequally the dark cells lie left and right, 0 (equal) to 1 (one side)
    dark_asymmetry: float
    deep_bright: float  # Fraction of deep cells brighter than 1.3 x their neighbourhood
    # Fraction of all voxels whose stored value is below 0 by more than a twentieth of the range
    # from signal zero to the peak
    negative: float


def measure_quality(volume: Volume, prepared: PreparedCase) -> QualityMeasures:
    """Measure a scan."""
    areas = np.array([np.count_nonzero(one) for one in prepared.brain], np.float64)
    structure = _structure(prepared)
    peak = prepared.intensity.peak - prepared.intensity.zero
    below = in_slabs(
        lambda slab: np.count_nonzero(volume.data[slab] < -0.05 * peak), len(volume.data)
    )
    return QualityMeasures(
        brain_ml=float(areas.sum() * np.prod(prepared.spacing_mm) / 1000),
        end_area=(float(areas[0] / areas.max()), float(areas[-1] / areas.max())),
        noise=_noise(volume, prepared),
        structure=structure.spread,
        deep_dark=structure.dark,
        dark_asymmetry=structure.asymmetry,
        deep_bright=structure.bright,
        negative=float(sum(below) / volume.data.size),
    )


def _noise(volume: Volume, prepared: PreparedCase) -> float:
    """Measure the grain in a box in the middle of the brain, on the native grid."""
    canonical = prepared.frame.orientation.apply(np.asarray(volume.data))
    rows, columns = (np.asarray(prepared.brain.any(axis=axis)) for axis in (2, 1))
    slices = np.flatnonzero(rows.any(axis=1))
    z = _middle(int(slices[0]), int(slices[-1]) + 1, canonical.shape[0])
    ranges = []
    for seen, mapping in ((rows, prepared.frame.y), (columns, prepared.frame.x)):
        used = np.flatnonzero(seen.any(axis=0))
        first = mapping.start + mapping.step * used[0]
        last = mapping.start + mapping.step * (used[-1] + 1)
        ranges.append(_middle(int(first), int(last), mapping.n_canonical))
    box = canonical[z, ranges[0], ranges[1]]
    peak = prepared.intensity.peak - prepared.intensity.zero

    def grain(slab: slice) -> NDArray[np.float64]:
        level = (box[slab].astype(np.float64) - prepared.intensity.zero) / peak
        np.clip(level, -1.0, 3.0, out=level)
        return np.abs(level[:, :, 1:-1] - (level[:, :, 2:] + level[:, :, :-2]) / 2).ravel()

    grains = np.concatenate(in_slabs(grain, len(box)))
    # The grain of white noise has sqrt(1 + 1/2) times its standard deviation.
    return median(grains) * _MAD_TO_SIGMA / float(np.sqrt(1.5))


def _middle(first: int, last: int, size: int) -> slice:
    """Return the middle half of a range, at least three long if the axis allows it."""
    margin = int((last - first) * (1 - _BOX_FRACTION) / 2)
    start = min(max(first + margin, 0), max(size - 3, 0))
    return slice(start, min(max(last - margin, start + 3), size))


@dataclass(frozen=True, slots=True)
class _Structure:
    spread: float
    dark: float
    asymmetry: float
    bright: float


def _structure(prepared: PreparedCase) -> _Structure:
    """Measure spread, dark and bright places inside the brain, on cells of `CELL_MM`."""
    z, y, x = (max(1.0, CELL_MM / mm) for mm in prepared.spacing_mm)
    cells, weight = (cells_of(array, (z, y, x)) for array in (prepared.image, prepared.brain))
    cell_mm = tuple(mm * n for mm, n in zip(prepared.spacing_mm, (z, y, x), strict=True))
    brain = weight > 0.5
    if not brain.any():
        brain = weight > 0
    sigma = [_SHADING_CELLS_MM / mm for mm in cell_mm]
    around = mean_around(cells, brain, sigma, mode="reflect", least=0.05)
    relative = cells / np.maximum(around, 1e-3)
    depth = distance_mm(np.pad(brain, 1), cell_mm, reach_mm=DEEP_MM)[1:-1, 1:-1, 1:-1]
    inner, deep = depth > INNER_MM, depth > DEEP_MM
    if np.count_nonzero(inner) < _ENOUGH_CELLS:  # a crop or a slab: take what there is
        inner = brain
    if np.count_nonzero(deep) < _ENOUGH_CELLS:
        deep = inner
    dark = deep & (relative < _DARK)
    bright = deep & (relative > _BRIGHT)
    count = np.count_nonzero(deep)
    return _Structure(
        spread=float(relative[inner].std()),
        dark=float(np.count_nonzero(dark) / count),
        asymmetry=_asymmetry(dark, brain),
        bright=float(np.count_nonzero(bright) / count),
    )


def _asymmetry(dark: NDArray[np.bool_], brain: NDArray[np.bool_]) -> float:
    """Measure how unequally a mask lies left and right of the middle of the brain, 0 to 1."""
    total = np.count_nonzero(dark)
    if total == 0:
        return 0.0
    columns = np.arange(brain.shape[2])
    middle = float((brain.sum(axis=(0, 1)) * columns).sum()) / np.count_nonzero(brain)
    left = np.count_nonzero(dark[:, :, columns < middle])
    return float(abs(2 * left - total) / total)
