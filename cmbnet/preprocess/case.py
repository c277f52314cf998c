"""`prepare`: bring a scan into the form that the network sees, and keep the way back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from cmbnet.errors import InputRefused
from cmbnet.preprocess.brain import CoarseBrain, edges_of, estimate_brain
from cmbnet.preprocess.brain_network import learned_brain
from cmbnet.preprocess.frame import FrameTransform, fit_frame
from cmbnet.preprocess.intensity import IntensityMap, fit_intensity
from cmbnet.preprocess.orientation import closest_orientation
from cmbnet.threads import in_slabs
from cmbnet.volume import Volume, grid_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cmbnet.preprocess.recipe import PreprocessRecipe

MIN_SLICES: Final = 3
"""Smallest number of voxels along each axis. The network looks at three slices."""

HOT_FACTOR: Final = 3.0
"""A voxel above this multiple of the 99.9th percentile is a defect, not tissue."""

MASK_LEVEL: Final = 0.5
"""A brain mask holds brain from this value on: likely probabilities, and all labels."""

_MOST_OF_A_PROBABILITY: Final = 1.5
"""Splines overshoot 1 a little. A mask with larger values is an image."""

_SAMPLE: Final = 200_000


@dataclass(frozen=True, slots=True)
class PreparedCase:
    """A scan in the frame of the network."""

    # The image, float32, of shape (z, size, size), in [0, 1]. z points to Superior, y to Anterior,
    # x to Right. White matter is near the recipe's level. Outside the scan it is 0.
    image: NDArray[np.float32]
    brain: NDArray[np.bool_]  # The brain mask, bool, of the same shape. It is never empty.
    spacing_mm: tuple[float, float, float]  # Spacing of the frame along z, y, x
    frame: FrameTransform  # The transform back to the native grid
    intensity: IntensityMap  # The map that was applied to the stored values
    white_matter_level: float  # Value of the white-matter peak in `image`
    brain_found: bool  # False if the estimate failed and `brain` is all that has signal
    notes: tuple[str, ...]  # What was changed or is odd, in words
    # How much of the brain that is estimated a brain mask that was given covers, 0 to 1; None where
    # there is none of both
    mask_cover: float | None = None
    brain_certainty: float = 1.0  # How sure the estimate is of its mask, 0 to 1; see `CoarseBrain`
    brain_largest_share: float = 1.0  # Part of what looked like brain that the mask holds


def prepare(
    volume: Volume, recipe: PreprocessRecipe, *, brain_mask: Volume | None = None
) -> PreparedCase:
    """Bring a scan into the frame of the network.

    Args:
        volume: The scan on its own grid, real values, no NaN (as `read_nifti` gives it).
        recipe: The settings.
        brain_mask: A mask on the grid of the scan. Values from 0.5 on are brain, so labels and
            probabilities are masks, too. Without a mask, the brain is estimated.

    Returns:
        The prepared case. A factor on the stored values does not change it, nor does a single hot
        voxel.

    Raises:
        InputRefused: If the scan has fewer than three slices, is constant or has values that are
            not finite, or if the brain mask is empty, is no mask, or lies on another grid.
    """
    notes: list[str] = []
    data = np.asarray(volume.data, np.float32)
    orientation = closest_orientation(volume.affine)
    data = _repair_hot_voxels(data, _highest(data, volume.source), notes)
    canonical = orientation.apply(data)
    z_mm, y_mm, x_mm = (volume.spacing_mm[axis] for axis in orientation.axes)

    look = learned_brain if recipe.brain == "learned-1" else estimate_brain
    estimate = look(canonical, (z_mm, y_mm, x_mm))
    given = None if brain_mask is None else _given_brain(brain_mask, volume, notes)
    box = estimate.bounding_box() if given is None else edges_of(orientation.apply(given))
    frame = fit_frame(
        recipe, orientation, volume.shape, (z_mm, y_mm, x_mm), (sum(box[1]) / 2, sum(box[2]) / 2)
    )
    _note_cut(frame, box, (y_mm, x_mm), notes)

    image = frame.image_from_native(data)
    brain = _brain_in_frame(frame, estimate, given)
    found = given is not None or estimate.found
    if not found:
        notes.append("no brain was found; all that has signal was kept instead")
    darkest = float(np.quantile(_sample(data), recipe.rare_bin_fraction))
    intensity = fit_intensity(image, brain, recipe, darkest=darkest)
    intensity.apply_in_place(image)
    spacing_mm = (z_mm, y_mm * frame.y.step, x_mm * frame.x.step)
    _note_resampling(frame, (y_mm, x_mm), spacing_mm, notes)
    return PreparedCase(
        image=image,
        brain=brain,
        spacing_mm=spacing_mm,
        frame=frame,
        intensity=intensity,
        white_matter_level=intensity.level(intensity.peak),
        brain_found=found,
        notes=tuple(notes),
        mask_cover=None if given is None else estimate.covered_by(orientation.apply(given)),
        brain_certainty=estimate.certainty if given is None else 1.0,
        brain_largest_share=estimate.largest_share if given is None else 1.0,
    )


def _highest(data: NDArray[np.float32], source: str) -> float:
    """Return the highest value, and refuse arrays that cannot be an image."""
    if min(data.shape) < MIN_SLICES:
        raise InputRefused(
            f"at least {MIN_SLICES} slices are required, got {min(data.shape)} in {source} "
            f"(shape {data.shape}, z, y, x as stored)"
        )
    ends = np.array(in_slabs(lambda slab: (data[slab].min(), data[slab].max()), len(data)))
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputRefused(f"finite values are required, got {low}..{high} in {source}")
    if low == high:
        raise InputRefused(f"{source} holds no image: every voxel is {low:g}")
    return high


def _repair_hot_voxels(
    data: NDArray[np.float32], highest: float, notes: list[str]
) -> NDArray[np.float32]:
    """Replace voxels far above everything else by the median of the eight around them."""
    usual = float(np.percentile(_sample(data), 99.9))
    limit = HOT_FACTOR * usual
    if usual <= 0 or highest <= limit:
        return data
    hot = np.argwhere(data > limit)
    around = []
    for dy, dx in product((-1, 0, 1), repeat=2):
        if (dy, dx) != (0, 0):
            y = np.clip(hot[:, 1] + dy, 0, data.shape[1] - 1)
            x = np.clip(hot[:, 2] + dx, 0, data.shape[2] - 1)
            around.append(data[hot[:, 0], y, x])
    repaired = data.copy()
    repaired[tuple(hot.T)] = np.minimum(np.median(around, axis=0), limit)
    notes.append(
        f"{len(hot)} voxels brighter than {HOT_FACTOR:g} x the 99.9th percentile were taken for "
        "defects and replaced by the median of their neighbours"
    )
    return repaired


def _sample(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take every n-th voxel along each axis, about `_SAMPLE` in all."""
    step = max(1, round((data.size / _SAMPLE) ** (1 / 3)))
    return data[::step, ::step, ::step]


def _given_brain(brain_mask: Volume, volume: Volume, notes: list[str]) -> NDArray[np.bool_]:
    difference = grid_difference(brain_mask, volume)
    if difference is not None:
        raise InputRefused(
            f"the brain mask {brain_mask.source} must lie on the grid of {volume.source}: "
            f"{difference}"
        )
    values = np.asarray(brain_mask.data)
    mask: NDArray[np.bool_] = values >= MASK_LEVEL
    if not mask.any():
        raise InputRefused(f"the brain mask {brain_mask.source} is empty")
    notes += [f"brain mask: {note}" for note in brain_mask.notes]
    low, high = float(values.min()), float(values.max())
    if np.any(values != np.rint(values)):
        if max(-low, high) > _MOST_OF_A_PROBABILITY:
            raise InputRefused(
                f"a brain mask, labels or probabilities of 0 to 1 are required, got values of "
                f"{low:g} to {high:g} that are not whole in {brain_mask.source}"
            )
        notes.append(
            f"the brain mask holds values between {low:g} and {high:g}; those of "
            f"{MASK_LEVEL} or more were taken for brain"
        )
    elif np.any(mask & (values != high)):
        notes.append(
            f"the brain mask holds labels up to {high:g}; all of them were taken for brain"
        )
    return mask


def _brain_in_frame(
    frame: FrameTransform, estimate: CoarseBrain, given: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    if given is None:
        brain = estimate.sample(
            np.arange(frame.n_slices, dtype=np.float64),
            frame.y.canonical_positions(),
            frame.x.canonical_positions(),
        )
    else:
        brain = frame.from_native(given)
    if not brain.any():
        raise InputRefused("the brain mask lies outside the frame of the network")
    return brain


def _note_cut(
    frame: FrameTransform,
    box: tuple[tuple[float, float], ...],
    pixel_mm: tuple[float, float],
    notes: list[str],
) -> None:
    """Say so when the brain is larger than the frame."""
    for name, axis, (first, last), mm in zip(
        ("front to back", "left to right"), (frame.y, frame.x), box[1:], pixel_mm, strict=True
    ):
        start = axis.start - axis.step / 2
        cut = max(start - first, 0.0) + max(last - (start + axis.step * axis.n_frame), 0.0)
        if cut * mm > 1.0:
            notes.append(f"the brain is larger than the frame: {cut * mm:.0f} mm are cut {name}")


def _note_resampling(
    frame: FrameTransform,
    pixel_mm: tuple[float, float],
    spacing_mm: tuple[float, float, float],
    notes: list[str],
) -> None:
    if frame.y.step != 1.0 or frame.x.step != 1.0:
        notes.append(
            f"pixels of {pixel_mm[0]:.3f} x {pixel_mm[1]:.3f} mm were resampled to "
            f"{spacing_mm[1]:.3f} x {spacing_mm[2]:.3f} mm; results are on the original grid"
        )
