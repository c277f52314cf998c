"""One brightness for every scan: signal zero at 0, the white-matter peak at a fixed level.

The paper scales globally, aligns white-matter peaks, drops histogram bins that hold less than
1e-4 of the points, and stretches what is left to [0, 1]. Stretching each scan to its own
brightest bin would undo the alignment of the peaks (a scan with bright vessels would show its
microbleeds shallower), so by default the window ends where the peak puts it and not at the last
bin: a microbleed that keeps 40 % of the signal of white matter then has the same value in every
scan. Brighter tissue is clipped; nothing dark ever is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cmbnet.threads import in_slabs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cmbnet.preprocess.recipe import PreprocessRecipe

BINS_PER_PEAK: Final = 256
"""Histogram bins between 0 and the median of the brain."""

HISTOGRAM_END: Final = 8.0
"""The histogram ends at this multiple of the median; brighter points count as one bin more."""

PEAK_WIDTH: Final = 0.10
"""Width (standard deviation) of the window that climbs to the peak, as a fraction of the peak:
wide enough to pass the grain of a noisy histogram, narrower than the step to CSF."""

SNAP_TO_ZERO: Final = 0.25
"""The darkest value that is not rare is an offset only if it lies further than this fraction of
the peak from 0: magnitude images have no offset, and their darkest tissue is not signal 0."""

_POINTS_AT_ONCE: Final = 100_000
_SAMPLE: Final = 10_000


@dataclass(frozen=True, slots=True)
class IntensityMap:
    """The linear map from stored values to [0, 1].

    Args:
        zero: Stored value that becomes 0.
        peak: Stored value of the white-matter peak.
        top: Stored value that becomes 1.
    """

    zero: float
    peak: float
    top: float

    def level(self, stored: float) -> float:
        """Where a stored value lands, clipped to [0, 1]."""
        return min(max((stored - self.zero) / (self.top - self.zero), 0.0), 1.0)

    def apply_in_place(self, image: NDArray[np.float32]) -> None:
        """Map and clip to [0, 1] without a second array."""
        scale = np.float32(1.0 / (self.top - self.zero))

        def apply(slab: slice) -> None:
            some = image[slab]
            some -= np.float32(self.zero)
            some *= scale
            np.clip(some, 0.0, 1.0, out=some)

        in_slabs(apply, len(image))


def fit_intensity(
    image: NDArray[np.float32],
    brain: NDArray[np.bool_],
    recipe: PreprocessRecipe,
    *,
    darkest: float,
) -> IntensityMap:
    """Find signal zero, white-matter peak and the end of the window of a scan.

    Args:
        image: float32 (z, y, x) in stored units, any scale and offset.
        brain: Same shape; at least one voxel set. Only these make the histogram.
        recipe: Its `white_matter_level`, `window` and `rare_bin_fraction`.
        darkest: Stored value below which only a rare fraction of the whole scan lies, air
            included: it tells an offset from dark tissue.

    Returns:
        The map. Multiplying the image by a factor multiplies its three numbers, and a single
        voxel moves them by no more than its share of the points, because every step is a median
        or a smooth mean: no single extreme enters.
    """
    points = np.concatenate(in_slabs(lambda slab: image[slab][brain[slab]], len(image)))
    middle = median(points)
    scale = abs(middle) or float(np.abs(points).max()) or 1.0
    histogram = _Histogram.of(points, scale)
    peak = histogram.peak(middle)
    zero = 0.0 if abs(darkest) <= SNAP_TO_ZERO * abs(peak) else darkest
    if peak <= zero:  # a brain mask of nothing but noise around 0; QC refuses it
        peak = zero + scale
    if recipe.window == "histogram":
        top = max(histogram.end(recipe.rare_bin_fraction), peak)
        return IntensityMap(zero, peak, top)
    return IntensityMap(zero, peak, zero + (peak - zero) / recipe.white_matter_level)


def median(points: NDArray[np.floating[Any]]) -> float:
    """As `numpy.median` of points (n,), n > 0, which would sort a part of all of them.

    A sample says within which narrow range the median lies; only what lies in it is sorted.
    """
    sample = points[:: max(1, len(points) // _SAMPLE)]
    low, high = np.quantile(sample, (0.47, 0.53))

    def split(part: slice) -> tuple[int, NDArray[np.floating[Any]]]:
        some = points[part]
        near: NDArray[np.floating[Any]] = some[(some >= low) & (some <= high)]
        return int(np.count_nonzero(some < low)), near

    parts = in_slabs(split, len(points), slab=_POINTS_AT_ONCE)
    below = sum(count for count, _ in parts)
    near = np.concatenate([some for _, some in parts])
    ranks = [(len(points) - 1) // 2 - below, len(points) // 2 - below]
    if ranks[0] < 0 or ranks[1] >= len(near):  # the sample missed it
        return float(np.median(points))
    return float(np.partition(near, ranks)[ranks].mean())


@dataclass(frozen=True, slots=True)
class _Histogram:
    """Counts and sums of the points in bins of a fixed fraction of the median."""

    counts: NDArray[np.intp]
    sums: NDArray[np.float64]
    width: float
    low: int

    @classmethod
    def of(cls, points: NDArray[np.float32], scale: float) -> _Histogram:
        width = scale / BINS_PER_PEAK
        limit = int(HISTOGRAM_END * BINS_PER_PEAK)

        def count(part: slice) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
            index = points[part] * np.float32(1.0 / width)
            np.floor(index, out=index)
            np.clip(index, -limit, limit, out=index)
            whole = index.astype(np.intp)
            whole += limit
            bins = 2 * limit + 1
            sums = np.bincount(whole, weights=points[part], minlength=bins)
            return np.bincount(whole, minlength=bins), sums.astype(np.float64)

        parts = in_slabs(count, len(points), slab=_POINTS_AT_ONCE)
        counts = np.sum([counts for counts, _ in parts], axis=0)
        sums = np.sum([sums for _, sums in parts], axis=0)
        used = np.flatnonzero(counts)
        filled = slice(int(used[0]), int(used[-1]) + 1)
        return cls(counts[filled], sums[filled], width, filled.start - limit)

    def peak(self, start: float) -> float:
        """Climb from `start` to the nearest maximum of the smoothed histogram (mean shift)."""
        used = np.flatnonzero(self.counts)
        counts, sums = self.counts[used], self.sums[used]
        # The mean of each bin, not its middle: a value on the edge of two bins then weighs the
        # same in either, and whole-numbered images do not beat against the bins.
        means = sums / counts
        peak = start
        for _ in range(200):
            width = PEAK_WIDTH * max(abs(peak), self.width)
            weights = np.exp(-0.5 * ((means - peak) / width) ** 2)
            total = float((weights * counts).sum())
            if total < 1e-9:
                return peak
            moved = float((weights * sums).sum()) / total
            if abs(moved - peak) < 1e-9 * max(abs(peak), self.width):
                return moved
            peak = moved
        return peak

    def end(self, rare_fraction: float) -> float:
        """Upper edge of the brightest bin that counts."""
        return (self.low + int(self._frequent(rare_fraction)[-1]) + 1) * self.width

    def _frequent(self, rare_fraction: float) -> NDArray[np.intp]:
        frequent = np.flatnonzero(self.counts >= rare_fraction * self.counts.sum())
        return frequent if frequent.size else np.flatnonzero(self.counts)
