"""Scans whose phase is worked out by hand: spheres and veins in a field, with their background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cmbnet.volume import Volume
from tests.helpers.tiny_scan import DOTS, SHAPE, tiny_scan

FloatArray = NDArray[np.float64]


def affine_of(spacing_mm: Sequence[float], tilt_rad: float = 0.0) -> FloatArray:
    """Axial slices (z, y, x), tilted about the left-right axis."""
    cos, sin = np.cos(tilt_rad), np.sin(tilt_rad)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 1], [-sin, cos, 0], [cos, sin, 0]]) * np.array(spacing_mm)
    return affine


def places_mm(
    shape: tuple[int, int, int], affine: FloatArray, centre: Sequence[float]
) -> FloatArray:
    """(z, y, x, 3) world positions relative to a voxel index."""
    index = np.moveaxis(np.indices(shape), 0, -1) - np.array(centre)
    return np.asarray(index @ affine[:3, :3].T)


def sphere_phase(places: FloatArray, moment_rad_mm3: float) -> FloatArray:
    """``M (3 cos^2 - 1) / r^3`` with the main field along superior."""
    square = np.maximum((places**2).sum(axis=-1), 1e-2)
    return np.asarray(moment_rad_mm3 * (3 * places[..., 2] ** 2 / square - 1) / square**1.5)


def wrapped(phase: FloatArray) -> FloatArray:
    return np.asarray(np.angle(np.exp(1j * phase)))


def sphere_scan(
    moment_rad_mm3: float,
    *,
    spacing_mm: Sequence[float] = (2.0, 0.6, 0.6),
    tilt_rad: float = 0.0,
    background_rad_mm: Sequence[float] = (0.0, 0.0, 0.0),
    noise: float = 0.05,
) -> tuple[Volume, Volume]:
    """Magnitude and phase, -pi to pi, of a dark sphere in the middle of the image."""
    shape = tuple(
        round(size / side) | 1 for size, side in zip((40, 48, 48), spacing_mm, strict=True)
    )
    affine = affine_of(spacing_mm, tilt_rad)
    places = places_mm(shape, affine, [n // 2 for n in shape])  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    # Blooming reaches to where the field changes by a radian in a voxel.
    radius = max(1.0, (abs(moment_rad_mm3) * 3 * max(spacing_mm) / 4) ** 0.25)
    magnitude = np.where((places**2).sum(axis=-1) < radius**2, 0.15, 1.0)
    magnitude[:, :6] = 0  # air, whose phase is noise over the whole turn
    signal = magnitude * np.exp(1j * (sphere_phase(places, moment_rad_mm3)
                                      + places @ np.array(background_rad_mm)))  # fmt: skip
    signal = signal + noise * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    return (
        Volume(np.abs(signal).astype(np.float32), affine, "magnitude"),
        Volume(np.angle(signal).astype(np.float32), affine, "phase"),
    )


def vein_scan(sign: int, *, tilt_rad: float = 0.0, noise: float = 0.05) -> tuple[Volume, Volume]:
    """Brain with air around it, veins along and across the main field, on both sides of pi.

    A vein along the field has a phase of 2 inside and none outside; one across it -1 inside and
    ``3 (a / r)^2 cos(2 phi)`` outside (cylinders, Lorentz-corrected).
    """
    shape, spacing = (24, 128, 128), (2.0, 0.7, 0.7)
    affine = affine_of(spacing, tilt_rad)
    places = places_mm(shape, affine, (12, 64, 64))
    right, anterior, superior = np.moveaxis(places, -1, 0)
    phase, magnitude = np.zeros(shape), np.ones(shape)
    for along_x in np.arange(-40, 41, 8.0):
        for along_y in np.arange(-40, 41, 8.0):
            inside = np.hypot(right - along_x, anterior - along_y) < 0.8
            phase[inside], magnitude[inside] = 2.0, 0.4
    for along_y in np.arange(-36, 41, 24.0):
        square = np.maximum((anterior - along_y) ** 2 + superior**2, 1e-3)
        inside = square < 0.8**2
        cosine = (superior**2 - (anterior - along_y) ** 2) / square
        phase += np.where(inside, -1.0, 3 * 0.8**2 / square * cosine)
        magnitude[inside] = 0.4
    brain = np.hypot(right, anterior) < 42
    rng = np.random.default_rng(5)
    signal = brain * magnitude * np.exp(1j * sign * (phase + 0.3 * right + 0.004 * anterior**2))
    signal = signal + noise * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    return (
        Volume(np.abs(signal).astype(np.float32), affine, "magnitude"),
        Volume(np.angle(signal).astype(np.float32), affine, "phase"),
    )


def with_line(
    phase: Volume, slices: slice, ends: tuple[tuple[int, int], tuple[int, int]]
) -> Volume:
    """Add a fringe line between two voxels (y, x) of some slices."""
    y, x = np.indices(phase.shape[1:])
    (y0, x0), (y1, x1) = ends
    line = np.arctan2(y - y0, x - x0) - np.arctan2(y - y1, x - x1)
    turned = phase.data.astype(float)
    turned[slices] = wrapped(turned[slices] + line)
    return phase.with_data(turned.astype(np.float32))


CALCIUM = DOTS[1]


def veined_scan() -> tuple[Volume, Volume]:
    """The tiny scan with faint veins along the field, whose dots are of blood but `CALCIUM`."""
    scan = tiny_scan()
    data, phase = scan.data.copy(), np.zeros(SHAPE)
    for y in range(8, 92, 6):
        for x in range(8, 92, 6):
            data[:, y : y + 2, x : x + 2] = np.minimum(data[:, y : y + 2, x : x + 2], 400)
            phase[:, y : y + 2, x : x + 2] = 1.5
    for dot in DOTS:
        middle = [n + half for n, half in zip(dot, (0.5, 1.5, 1.5), strict=True)]
        moment = -60.0 if dot == CALCIUM else 60.0
        phase += sphere_phase(places_mm(SHAPE, scan.affine, middle), moment)
    rng = np.random.default_rng(1)
    phase += rng.normal(0, 0.1, SHAPE)
    phase[scan.data < 100] += rng.uniform(-9, 9, (scan.data < 100).sum())
    wrapped = np.angle(np.exp(-1j * phase))  # a scanner of the left-handed sort
    return scan.with_data(data), scan.with_data(wrapped.astype(np.float32))
