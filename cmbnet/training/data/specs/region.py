"""The dark region around the centre of a microbleed, as a target.

A table of centres says where a reader saw a lesion, and nothing about its outline. A ball of a
fixed diameter would teach the network a size that nobody measured. Instead, the scan gives the
region. Within `snap_mm` of the centre the darkest voxel is the seed; the median of the
shell from 5 to 8 mm around it is the surround; the region is the 26-connected set of voxels below
the level half-way between the two (full width at half maximum) that holds the seed. Its border is
an estimate, so voxels within `shell_mm` around it are ignored, neither lesion nor background.

If this fails, nothing is invented. If there is no dark spot (a wrong centre, a wrong index base, or
a faint lesion), or if the region is longer than `max_diameter_mm` (it ran into a vein), the place
is ignored.

So a pixel score against such targets measures agreement with this rule, not with a reader's
outline; count lesions, not pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.lesions import label_components, measure_components
from cmbnet.lesions.sizes import exceeds
from cmbnet.training.data.specs.model import RegionTarget
from cmbnet.volume import Volume

Triple = tuple[float, float, float]

SURROUND_MM = 3.0
"""Thickness of the shell whose median is the surround. It starts at half the largest diameter."""


@dataclass(frozen=True, slots=True)
class Region:
    """The region of a centre."""

    box: tuple[slice, slice, slice]  # Place of the masks in the image, slices along z, y, x
    # Mask of the target, bool. It is empty if `reason` says why there is none.
    lesion: NDArray[np.bool_]
    # Mask of voxels that are neither learned nor counted, without the target
    ignore: NDArray[np.bool_]
    reason: str = ""  # Empty, ``no dark spot`` or ``larger than ... mm``.


def inside(image: Volume, centre: Triple) -> bool:
    """Return whether a centre lies in the image."""
    return all(-0.5 <= at < size - 0.5 for at, size in zip(centre, image.shape, strict=True))


def grow_region(image: Volume, centre: Triple, target: RegionTarget) -> Region:
    """Find the dark region at a centre.

    Lesions are dark. The centre is a fractional index (z, y, x) inside the image.
    """
    spacing = np.array(image.spacing_mm)
    box = _box(image.shape, centre, (target.max_diameter_mm / 2 + SURROUND_MM) / spacing)
    start = np.array([edge.start for edge in box])
    values = np.asarray(image.data[box], np.float32)
    distance_mm = _distance_mm(values.shape, np.array(centre) - start, spacing)
    near = distance_mm <= max(target.snap_mm, float(distance_mm.min()))
    seed = np.unravel_index(int(np.argmin(np.where(near, values, np.inf))), values.shape)
    from_seed_mm = _distance_mm(values.shape, np.array(seed), spacing)
    ball = from_seed_mm <= target.max_diameter_mm / 2
    # Stripped skulls are 0 outside the brain; they are no surround.
    around = values[~ball & (from_seed_mm <= target.max_diameter_mm / 2 + SURROUND_MM)]
    around = around[around > 0]
    surround = float(np.median(around)) if around.size else 0.0
    darkest = float(values[seed])
    none = np.zeros(values.shape, bool)
    if surround - darkest <= target.min_contrast * surround:
        return Region(box, none, ball, "no dark spot")
    labels, _ = label_components(values < surround - target.depth * (surround - darkest))
    lesion = labels == labels[seed]
    if _too_large(lesion, box, image, target.max_diameter_mm):
        return Region(box, none, ball, f"larger than {target.max_diameter_mm:g} mm")
    shell_mm = ndimage.distance_transform_edt(~lesion, sampling=spacing)
    return Region(box, lesion, (shell_mm <= target.shell_mm) & ~lesion)


def _box(
    shape: tuple[int, int, int], centre: Triple, reach: NDArray[np.float64]
) -> tuple[slice, slice, slice]:
    """Return the part of the image within `reach` voxels of the centre."""
    z, y, x = (
        slice(max(0, int(np.floor(at - by))), min(size, int(np.ceil(at + by)) + 1))
        for at, by, size in zip(centre, reach.tolist(), shape, strict=True)
    )
    return z, y, x


def _distance_mm(
    shape: tuple[int, ...], point: NDArray[np.float64], spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance of every voxel from a fractional index."""
    axes = [
        ((np.arange(size) - at) * mm) ** 2
        for size, at, mm in zip(shape, point.tolist(), spacing.tolist(), strict=True)
    ]
    distance: NDArray[np.float64] = np.sqrt(
        axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]
    )
    return distance


def _too_large(
    lesion: NDArray[np.bool_], box: tuple[slice, slice, slice], image: Volume, limit_mm: float
) -> bool:
    """Return whether a region is longer than the limit, or leaves the examined box."""
    (component,) = measure_components(lesion.astype(np.int32), image.affine)
    for (start, stop), edge, size in zip(component.bbox, box, image.shape, strict=True):
        leaves_low = start == 0 and edge.start > 0
        leaves_high = stop == edge.stop - edge.start and edge.stop < size
        if leaves_low or leaves_high:
            return True
    return exceeds(max(component.max_in_plane_diameter_mm, component.axes_mm[0]), limit_mm)
