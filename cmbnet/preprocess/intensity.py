"""One brightness for every scan: no signal at 0, and the white-matter peak at a fixed level.

The paper scales globally, aligns white-matter peaks, drops histogram bins that hold less than
1e-4 of the points, and stretches the rest to [0, 1]. If each scan were stretched to its own
brightest bin, the peaks would not be aligned any more: a scan with bright vessels would show its
microbleeds shallower. So by default the peak decides where the window ends, not the last bin. A
microbleed that keeps 40 % of the signal of white matter then has the same value in every scan.
Brighter tissue is clipped. Dark tissue is never clipped.
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
"""Number of histogram bins between 0 and the median of the brain."""

HISTOGRAM_END: Final = 8.0
"""The histogram ends at this multiple of the median. Brighter points share one more bin."""

PEAK_WIDTH: Final = 0.10
"""Width (standard deviation) of the window that climbs to the peak, as a fraction of the peak. It
is wide enough for the grain of a noisy histogram, and narrower than the step to CSF."""

SNAP_TO_ZERO: Final = 0.25
"""The darkest common value is an offset only if it lies further than this fraction of the peak from
0. Magnitude images have no offset, and their darkest tissue has some signal."""

_POINTS_AT_ONCE: Final = 100_000
_SAMPLE: Final = 10_000


@dataclass(frozen=True, slots=True)
class IntensityMap:
    """The linear map from stored values to [0, 1]."""

    zero: float  # Stored value that becomes 0
    peak: float  # Stored value of the white-matter peak
    top: float  # Stored value that becomes 1

    def level(self, stored: float) -> float:
        """Map a stored value, and clip it to [0, 1]."""
        return min(max((stored - self.zero) / (self.top - self.zero), 0.0), 1.0)

    def apply_in_place(self, image: NDArray[np.float32]) -> None:
        """Map an array and clip it to [0, 1], without a second array."""
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
    """Find the value of no signal, the white-matter peak and the end of the window of a scan.

    Args:
        image: The image in stored units, float32 (z, y, x), with any scale and offset.
        brain: Brain mask of the same shape, not empty. Only its voxels make the histogram.
        recipe: Recipe with `white_matter_level`, `window` and `rare_bin_fraction`.
        darkest: Stored value below which only a rare fraction of the whole scan lies, air
            included. It separates an offset from dark tissue.

    Returns:
        The map. If the image is multiplied by a factor, its three numbers are, too. Every step is
        a median or a smooth mean, so a single voxel moves them by at most its share of the points.
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
    """Compute `numpy.median` of points (n,), n > 0, faster.

    A sample tells in which narrow range the median lies. Only points in that range are sorted.
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
        """Return the upper edge of the brightest bin that counts."""
        return (self.low + int(self._frequent(rare_fraction)[-1]) + 1) * self.width

    def _frequent(self, rare_fraction: float) -> NDArray[np.intp]:
        frequent = np.flatnonzero(self.counts >= rare_fraction * self.counts.sum())
        return frequent if frequent.size else np.flatnonzero(self.counts)
