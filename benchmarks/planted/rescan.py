"""One head with the same microbleeds, scanned by several protocols, as a reader gets to see it.

Whether a microbleed is found depends on what lies around it. So protocols are compared in the
tissue of a head, with its veins and with noise (`benchmarks.planted.patch` has neither).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.planted.reader import Look
from cmbnet.phantom.acquisition import acquire
from cmbnet.phantom.anatomy import Anatomy
from cmbnet.phantom.grid import FloatArray, resample
from cmbnet.phantom.lesions import (
    MEDIAN_MOMENT_PPM_MM3,
    MOMENT_RANGE_PPM_MM3,
    SIGMA_LOG_MOMENT,
    Microbleed,
    place_lesions,
)
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.scan import (
    ComplexArray,
    HeadSignal,
    ScanPlan,
    average_sub_slices,
    object_signal,
    plan_scan,
    shows_lesions,
)
from cmbnet.phantom.spheres import add_spheres
from cmbnet.phantom.swi import susceptibility_weighted
from cmbnet.phantom.truth import find_apparent

SURROUNDINGS_MM = 10.0
"""Brain within this distance in a slice is what a microbleed has to stand out from."""
CORE_MM = 2.0
"""A microbleed is darkest within this distance of its centre."""
MARGIN_MM = (4.0, 12.0, 12.0)
"""Distance of microbleeds from the edges of what is scanned, along z, y, x."""


def look_with_each(
    head: Anatomy,
    protocols: Sequence[Protocol],
    *,
    count: int,
    seed: int,
    median_moment_ppm_mm3: float = MEDIAN_MOMENT_PPM_MM3,
) -> list[list[Look]]:
    """Scan a head with the same microbleeds by one protocol after the other.

    Microbleeds are drawn as those of cases are, where the first protocol could show them; with
    respect to the slices of the others they lie anywhere. Of mimics there are only the veins.

    Args:
        head: The head.
        protocols: They have to cover the same part of the head; `Protocol.shape` limits it.
        count: Microbleeds to draw; those that find no place are left out.
        seed: Of microbleeds, tissue and noise.
        median_moment_ppm_mm3: Of the moments drawn.

    Returns:
        For each protocol the looks of all microbleeds, in the same order.
    """
    lesions: list[Microbleed] | None = None
    looks = []
    for number, protocol in enumerate(protocols):
        scan = plan_scan(head, protocol)
        seen = object_signal(np.random.default_rng([seed, 1]), head, scan, head.veins)
        without = average_sub_slices(seen.signal, scan)
        if lesions is None:
            rng = np.random.default_rng([seed, 2])
            moments = median_moment_ppm_mm3 * np.exp(SIGMA_LOG_MOMENT * rng.standard_normal(count))
            moments = np.clip(moments, *MOMENT_RANGE_PPM_MM3)
            lesions = _place(rng, head, scan, seen, without, moments)
        for lesion in lesions:
            add_spheres(seen.signal, scan, lesion.spheres)
        complete = average_sub_slices(seen.signal, scan)
        rng = np.random.default_rng([seed, 3, number])
        looks.append(_looks(rng, head, scan, lesions, without / seen.white, complete / seen.white))
    return looks


def _place(
    rng: np.random.Generator, head: Anatomy, scan: ScanPlan, seen: HeadSignal,
    without: ComplexArray,
    moments: NDArray[np.float64],
) -> list[Microbleed]:  # fmt: skip
    """Microbleeds where they occur and can be seen, away from the edges."""
    first = np.array(scan.grid.origin_mm)
    last = first + (np.array(scan.grid.shape) - 1) * np.array(scan.grid.spacing_mm)

    def suitable(points_mm: NDArray[np.floating]) -> NDArray[np.bool_]:
        inside = (points_mm > first + MARGIN_MM) & (points_mm < last - MARGIN_MM)
        result: NDArray[np.bool_] = inside.all(axis=1)
        return result & shows_lesions(points_mm, scan, seen, without)

    return place_lesions(rng, head, scan.protocol, moments, suitable, [])


def _looks(
    rng: np.random.Generator, head: Anatomy, scan: ScanPlan, lesions: list[Microbleed],
    without: ComplexArray, complete: ComplexArray,
) -> list[Look]:  # fmt: skip
    """Measure the microbleeds without noise, and what is around them with it.

    Args:
        rng: Of the noise.
        head: The head.
        scan: Of both images.
        lesions: What differs between them.
        without: (z, y, x) slices without them, white matter is 1.
        complete: The same with them.
    """
    noise = 1 / scan.protocol.snr

    def image(slices: ComplexArray, noise_sd: float = 0.0) -> FloatArray:
        received = acquire(slices, scan.protocol, noise_sd=noise_sd, rng=rng)
        return susceptibility_weighted(received, scan.grid, scan.protocol)

    clean = image(without)
    loss = image(complete)
    _, _, rows = find_apparent(lesions, scan.grid, loss, clean, noise=noise, white=1.0)
    loss = clean - loss
    noisy = image(without, noise)
    brain = resample(head.brain.astype(np.float32), head.grid, scan.grid, outside=0.0) > 0.5
    z, y, x = scan.grid.axes_mm()
    looks = []
    for lesion, row in zip(lesions, rows, strict=True):
        at_z, at_y, at_x = lesion.centre_mm
        square = (y[0] - at_y) ** 2 + (x[0] - at_x) ** 2
        slices = np.abs(z[:, 0, 0] - at_z) < scan.protocol.slice_mm + CORE_MM / 2
        losses = np.where(square < CORE_MM**2, loss, 0).max(axis=(1, 2)) * slices
        darkest = int(losses.argmax())
        around = noisy[darkest][(square < SURROUNDINGS_MM**2) & brain[darkest]]
        looks.append(Look(row.peak_drop, row.diameter_mm, float(losses[darkest] / around.std())))
    return looks
