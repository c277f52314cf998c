"""One microbleed in uniform tissue: the physics of blooming without a head around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmbnet.phantom.acquisition import acquire
from cmbnet.phantom.grid import FloatArray, Grid
from cmbnet.phantom.lesions import Microbleed
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.scan import SUB_SLICE_MM, ScanPlan, average_sub_slices
from cmbnet.phantom.spheres import add_spheres
from cmbnet.phantom.swi import susceptibility_weighted
from cmbnet.phantom.truth import LesionTruth, find_apparent

FIELD_OF_VIEW_MM = 48.0
"""Wide enough for the high-pass filters of all protocols."""
DEPTH_MM = 26.0


@dataclass(frozen=True, slots=True)
class PatchResult:
    """What one microbleed looks like.

    Args:
        truth: Its row, as a case would list it.
        image: (z, y, x) float32 noise-free image, tissue is 1.
        loss_mm3: Volume integral of the relative loss of signal.
        contrast_to_noise: Largest loss of signal over the noise sd.
    """

    truth: LesionTruth
    image: FloatArray
    loss_mm3: float
    contrast_to_noise: float


def patch_scan(protocol: Protocol, tilt_rad: float = 0.0) -> ScanPlan:
    """A small field of view about the origin."""
    count = max(1, round(protocol.slice_mm / SUB_SLICE_MM))
    slices = int(np.ceil(DEPTH_MM / protocol.slice_mm)) | 1
    pixels = int(np.ceil(FIELD_OF_VIEW_MM / protocol.pixel_mm / 8)) * 8
    spacing = (protocol.slice_mm, protocol.pixel_mm, protocol.pixel_mm)
    work_spacing = (protocol.slice_mm / count, *spacing[1:])
    shape, work_shape = (slices, pixels, pixels), (slices * count, pixels, pixels)
    return ScanPlan(
        protocol,
        _centred(shape, spacing),
        _centred(work_shape, work_spacing),
        count,
        np.array([np.cos(tilt_rad), np.sin(tilt_rad), 0.0]),
    )


def _centred(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    z, y, x = (-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True))
    return Grid(shape, (z, y, x), spacing)


def image_microbleed(
    lesion: Microbleed, protocol: Protocol, *, tilt_rad: float = 0.0
) -> PatchResult:
    """Image a microbleed that lies near the origin in tissue of signal 1.

    Args:
        lesion: The microbleed.
        protocol: How it is imaged.
        tilt_rad: Angle between slice normal and main field.
    """
    scan = patch_scan(protocol, tilt_rad)
    tissue = np.ones(scan.work.shape, np.complex64)
    images = []
    for spheres in ((), lesion.spheres):
        if spheres:
            add_spheres(tissue, scan, spheres)
        slices = acquire(average_sub_slices(tissue, scan), protocol)
        images.append(susceptibility_weighted(slices, scan.grid, protocol))
    without, image = images
    noise = 1 / protocol.snr
    _, _, (truth,) = find_apparent([lesion], scan.grid, image, without, noise=noise, white=1.0)
    voxel_mm3 = float(np.prod(scan.grid.spacing_mm))
    middle = tuple(slice(n // 4, n - n // 4) for n in scan.grid.shape)
    return PatchResult(
        truth,
        image,
        float((without - image).sum(dtype=np.float64) * voxel_mm3),
        float((without - image)[middle].max() / noise),
    )
