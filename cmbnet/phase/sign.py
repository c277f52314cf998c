"""Which way the susceptibility of a candidate turns the phase: blood or calcium.

Iron makes the field stronger above and below itself, along the main field, and weaker at its sides;
calcium does the opposite. Scanners disagree which of the two is a positive phase, so the sign of
each scan is found first, from its veins and iron-rich nuclei, which are paramagnetic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cmbnet.phase.local import (
    Box,
    ComplexArray,
    field_direction,
    near,
    smooth,
    trust,
    without_background,
)
from cmbnet.phase.units import FloatArray, Phase
from cmbnet.volume import Volume

Call = Literal["paramagnetic", "diamagnetic", "indeterminate"]

SLAB_MM: Final = 20.0
"""Height of the middle of the brain that calibrates the sign; bone and air are far from it."""

CALIBRATION_MM: Final = 4.0
"""Width of the background of veins."""

DARKER: Final = 0.15
"""A voxel is dark where the scan falls short of its surroundings by more than this share."""

BLOCK_MM: Final = (12.0, 16.0, 16.0)
"""Size of the parts of the slab that have a vote each; the first is along the main field."""

LEAST_AGREEING: Final = 0.65
LEAST_VOTES_SD: Final = 4.0
"""The sign is known if this share of the parts agree, and by this many standard deviations of
votes by chance."""

BACKGROUND_MM: Final = 3.0
BACKGROUND_DIAMETERS: Final = 1.5
"""Least width of the background of a candidate, and its width in diameters of the candidate."""

REACH_MM: Final = (6.0, 14.0)
"""Least and largest distance from a candidate at which its field is looked at."""

CORE_DIAMETERS: Final = 0.5
"""Nearer to the centre than this share of the diameter, the phase is noise."""

MOMENTS: Final = tuple(0.5 * 2 ** (n / 2) for n in range(22))
"""Strengths of the field that are tried, rad mm3: those of 0.3 to 10 mm of calcium."""

DARK_CORE: Final = 0.25
CENTRE_MM: Final = 3.0
CENTRE_DIAMETERS: Final = 0.75
CENTRE_STEPS: Final = 4
"""The network may mark a part of a calcification: its centre moves to the middle of what is darker
by `DARK_CORE`, within this distance or share of the diameter, in so many steps."""

LEAST_STRENGTH: Final = 0.02
"""The other sign must leave this share more of the phase unexplained, or the call is open."""


@dataclass(frozen=True, slots=True)
class ScanSign:
    """The sign of paramagnetic phase in a scan.

    Args:
        sign: 1 or -1; 0 if it is unknown.
        votes: Number of parts of the brain that were asked.
        agreeing: Share of them that agree.
    """

    sign: Literal[-1, 0, 1]
    votes: int
    agreeing: float


@dataclass(frozen=True, slots=True)
class Susceptibility:
    """What the phase says of a candidate.

    Args:
        call: "paramagnetic" (blood), "diamagnetic" (calcium) or "indeterminate".
        strength: How much more of the phase around it the other sign leaves unexplained: 0.3 is 30
            % more.
        reason: The same in words.
    """

    call: Call
    strength: float
    reason: str


def scan_sign(phase: Phase, scan: Volume, brain: NDArray[Any]) -> ScanSign:
    """Find the sign of a scan: does its phase look as if its dark things were blood?

    The field that the dark structures of the middle of the brain would have is calculated, whatever
    their direction, and compared with the phase part by part.

    Args:
        phase: The phase.
        scan: SWI or magnitude on the same grid.
        brain: (z, y, x) brain mask.
    """
    box = _slab(scan, brain)
    inside = (brain[box] != 0).astype(np.float32)
    if not inside.any():
        return ScanSign(0, 0, 0.0)
    image = scan.data[box].astype(np.float32)
    image /= max(float(np.median(image[inside > 0])), 1e-12)
    covered = smooth(inside, CALIBRATION_MM, scan)
    around = smooth(image * inside, CALIBRATION_MM, scan) / np.maximum(covered, 1e-3)
    dark = np.clip(1 - image / np.maximum(around, 1e-3), 0, 1) * inside
    dark[dark < DARKER] = 0
    field = _field(dark, scan)
    field -= smooth(field, CALIBRATION_MM, scan)
    deep = covered > 0.999
    local = without_background(np.clip(image, 0, 1), phase, box, CALIBRATION_MM, scan).imag
    products = _blocks(np.where(deep, local * field, 0), scan)
    products = products[products != 0]
    if len(products) == 0:
        return ScanSign(0, 0, 0.0)
    share = float((products > 0).mean())
    agreeing = max(share, 1 - share)
    sure = (2 * agreeing - 1) * np.sqrt(len(products)) >= LEAST_VOTES_SD
    if agreeing < LEAST_AGREEING or not sure:
        return ScanSign(0, len(products), agreeing)
    return ScanSign(1 if share > 0.5 else -1, len(products), agreeing)


def _slab(scan: Volume, brain: NDArray[Any]) -> Box:
    """The middle of the brain along the main field, in the box of the brain."""
    across = int(np.argmax(np.abs(field_direction(scan.affine))))
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero((brain != 0).any(axis=others))
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        if axis == across:
            middle, half = (low + high) // 2, max(3, round(SLAB_MM / scan.spacing_mm[axis] / 2))
            low, high = max(low, middle - half), min(high, middle + half)
        box.append(slice(low, high))
    return box[0], box[1], box[2]


def _field(chi: FloatArray, volume: Volume) -> FloatArray:
    """Field of a susceptibility map: ``F^-1{(1/3 - (k.b)^2 / |k|^2) F{chi}}``."""
    shape = [scipy.fft.next_fast_len(size + 8, real=axis == 2) for axis, size in
             enumerate(chi.shape)]  # fmt: skip
    waves = [
        (scipy.fft.rfftfreq if axis == 2 else scipy.fft.fftfreq)(size, side).astype(np.float32)
        for axis, (size, side) in enumerate(zip(shape, volume.spacing_mm, strict=True))
    ]
    z, y, x = np.meshgrid(*waves, indexing="ij", sparse=True)
    square = z * z + y * y + x * x
    square[0, 0, 0] = 1
    bz, by, bx = field_direction(volume.affine).astype(np.float32)
    kernel = np.float32(1 / 3) - (z * bz + y * by + x * bx) ** 2 / square
    field = scipy.fft.irfftn(scipy.fft.rfftn(chi, s=shape) * kernel, s=shape)
    n_z, n_y, n_x = chi.shape
    result: FloatArray = field[:n_z, :n_y, :n_x].astype(np.float32)
    return result


def _blocks(values: NDArray[Any], volume: Volume) -> NDArray[Any]:
    """Sums over blocks; the rest at the end of an axis belongs to none."""
    across = int(np.argmax(np.abs(field_direction(volume.affine))))
    sizes = [BLOCK_MM[0] if axis == across else BLOCK_MM[1] for axis in range(3)]
    for axis, side in enumerate(volume.spacing_mm):
        step = min(max(1, round(sizes[axis] / side)), values.shape[axis])
        starts = np.arange(0, values.shape[axis] - step + 1, step)
        values = np.add.reduceat(values, starts, axis=axis)
    return values.ravel()


def susceptibility(
    centre_ras_mm: Iterable[float], diameter_mm: float, phase: Phase, scan: Volume, sign: ScanSign
) -> Susceptibility:
    """Judge a candidate by the phase around it.

    The field of a sphere is fitted to the phase around the candidate, twice: as blood and as
    calcium. Strong phase wraps, so complex numbers are compared and any strength is tried. What
    decides are mostly the sections at its borders along the main field and the ring across it.

    Args:
        centre_ras_mm: Centre of the candidate.
        diameter_mm: Its largest diameter in a slice.
        phase: The phase.
        scan: SWI or magnitude on the same grid.
        sign: The sign of the scan.
    """
    if sign.sign == 0:
        return Susceptibility("indeterminate", 0.0, "the sign of the phase is unknown in this scan")
    centre = (np.linalg.inv(scan.affine) @ [*centre_ras_mm, 1.0])[:3]
    centre = _dark_centre(centre, diameter_mm, scan)
    measured, template, starts = _around(centre, diameter_mm, phase, scan)
    if len(measured) == 0:
        return Susceptibility("indeterminate", 0.0, "no phase lies around it")
    blood, calcium = _explained(measured, sign.sign * template, starts)
    gain = blood - calcium
    strength = abs(gain) / max(float(np.abs(measured).sum()) - max(blood, calcium), 1e-6)
    strength = round(float(min(strength, 99.0)), 3)
    if strength < LEAST_STRENGTH:
        return Susceptibility("indeterminate", strength, "blood and calcium fit its phase alike")
    better, worse = ("blood", "calcium") if gain > 0 else ("calcium", "blood")
    return Susceptibility(
        "paramagnetic" if gain > 0 else "diamagnetic",
        strength,
        f"{better} explains the phase around it; {worse} leaves {strength:.0%} more unexplained",
    )


def _dark_centre(
    centre: NDArray[np.float64], diameter_mm: float, scan: Volume
) -> NDArray[np.float64]:
    """The middle of the dark thing around a voxel index."""
    reach_mm = max(CENTRE_MM, CENTRE_DIAMETERS * diameter_mm)
    box, offsets = near(centre, [2 * reach_mm + 2] * 3, scan)
    image = scan.data[box].astype(np.float32)
    if not (image > 0).any():
        return centre
    dark = np.clip(1 - image / np.median(image[image > 0]) - DARK_CORE, 0, 1)
    moved = np.zeros(3)
    for _ in range(CENTRE_STEPS):
        square = sum((axis - mm) ** 2 for axis, mm in zip(offsets, moved, strict=True))
        weight = np.where(square <= reach_mm**2, dark, 0)
        if weight.sum() <= 0:
            break
        moved = np.array([(weight * axis).sum() for axis in offsets]) / weight.sum()
    return np.asarray(centre + moved / np.array(scan.spacing_mm))


def _around(
    centre: NDArray[np.float64], diameter_mm: float, phase: Phase, scan: Volume
) -> tuple[ComplexArray, FloatArray, NDArray[np.intp]]:
    """Local phase and the shape of a sphere's field around a voxel index, and where planes begin.

    Returns:
        (n,) complex64, (n,) float32 in 1/mm3, (planes,).
    """
    direction = field_direction(scan.affine).astype(np.float32)
    across = int(np.argmax(np.abs(direction)))
    reach_mm = float(np.clip(4 + CENTRE_DIAMETERS * diameter_mm, *REACH_MM))
    width_mm = max(BACKGROUND_MM, BACKGROUND_DIAMETERS * diameter_mm)
    margins_mm = [reach_mm + 2 * width_mm] * 3
    margins_mm[across] = reach_mm
    box, offsets = near(centre, margins_mm, scan)
    square = np.asarray(sum(offset**2 for offset in offsets), np.float32)
    along = sum(offset * part for offset, part in zip(offsets, direction, strict=True))
    core_mm = max(CORE_DIAMETERS * diameter_mm, 0.75 * min(scan.spacing_mm))
    used = np.moveaxis((square <= reach_mm**2) & (square >= core_mm**2), across, 0)
    local = without_background(trust(scan.data[box]), phase, box, width_mm, scan)
    square = np.moveaxis(square, across, 0)[used]
    cosines = np.moveaxis(np.asarray(along), across, 0)[used] ** 2 / square
    counts = used.sum(axis=(1, 2))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])[counts > 0]
    template = ((3 * cosines - 1) / square**1.5).astype(np.float32)
    return np.moveaxis(local, across, 0)[used], template, starts


def _explained(
    measured: ComplexArray, template: FloatArray, starts: NDArray[np.intp]
) -> tuple[float, float]:
    """How much of the phase a positive and a negative moment explain, at their best.

    Each plane may have a phase of its own.
    """

    def length(turned: ComplexArray) -> float:
        return float(np.abs(np.add.reduceat(turned, starts)).sum())

    best = [length(measured)] * 2
    for first in MOMENTS[:2]:
        turn = np.exp(-1j * np.float32(first) * template).astype(np.complex64)
        for _ in MOMENTS[::2]:
            best[0] = max(best[0], length(measured * turn))
            best[1] = max(best[1], length(measured * turn.conj()))
            turn *= turn  # twice the moment
    return best[0], best[1]
