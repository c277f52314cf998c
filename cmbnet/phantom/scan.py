"""The object as the scanner sees it: complex signal of an anatomy on sub-slices."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.anatomy import Anatomy
from cmbnet.phantom.field import dipole_field, remove_shim
from cmbnet.phantom.grid import FloatArray, Grid, resample
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.tissue import NUCLEI, TISSUES, spoiled_echo
from cmbnet.phantom.veins import VeinPoints

ComplexArray = NDArray[np.complex64]
Pixel = TypeVar("Pixel", np.complex64, np.float32)

SUB_SLICE_MM = 1.0
"""Slices are simulated as sub-slices of about this thickness and averaged as complex numbers."""

HEAD_MARGIN_MM = (4.0, 30.0, 30.0)
"""Room beyond the brain along z, y, x: scalp and skull belong to the picture."""

VISIBLE_SHARE = 0.55
"""No lesion where the signal is below this share of white matter's: nobody would see it."""


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What a case is scanned with."""

    protocol: Protocol  # The acquisition
    grid: Grid  # Grid of the image, in the head's mm
    work: Grid  # Grid of the sub-slices
    sub_slices: int  # Number of sub-slices of a slice
    b0_zyx: NDArray[np.float64]  # (3,) direction of the main field in the axes of the image

    @property
    def excited(self) -> NDArray[np.float32]:
        """(sub_slices,) share of a slice's signal that each sub-slice gives; a gap gives none."""
        edges = np.linspace(-0.5, 0.5, self.sub_slices + 1) * self.protocol.slice_mm
        half = (self.protocol.slice_mm - self.protocol.gap_mm) / 2
        inside = np.diff(np.clip(edges, -half, half))
        share: NDArray[np.float32] = (inside / inside.sum()).astype(np.float32)
        return share


@dataclass(frozen=True, slots=True)
class HeadSignal:
    """What the scanner sees of a head."""

    signal: ComplexArray  # (z, y, x) complex64 on `ScanPlan.work`
    white: float  # Magnitude of white matter
    blood: FloatArray  # (z, y, x) share of venous blood on `ScanPlan.grid`
    left: FloatArray  # Share of the signal that air and bone leave, on `ScanPlan.grid`


def plan_scan(
    anatomy: Anatomy,
    protocol: Protocol,
    tilt_rad: float = 0.0,
    margin_mm: tuple[float, float, float] = HEAD_MARGIN_MM,
) -> ScanPlan:
    """Place the slices over a head.

    `tilt_rad` is the angle between the slice normal and the main field, about the left-right axis.
    `margin_mm` is room beyond the brain along z, y, x.
    """
    grid = _image_grid(anatomy, protocol, margin_mm)
    count = max(1, round(protocol.slice_mm / SUB_SLICE_MM))
    thickness = protocol.slice_mm / count
    first = grid.origin_mm[0] - (protocol.slice_mm - thickness) / 2
    work = Grid(
        (grid.shape[0] * count, *grid.shape[1:]),
        (first, *grid.origin_mm[1:]),
        (thickness, *grid.spacing_mm[1:]),
    )
    b0 = np.array([np.cos(tilt_rad), np.sin(tilt_rad), 0.0])
    return ScanPlan(protocol, grid, work, count, b0)


def _image_grid(
    anatomy: Anatomy, protocol: Protocol, margin_mm: tuple[float, float, float]
) -> Grid:
    """Slices that cover the brain, rows and columns that cover the head."""
    step = 2
    used = np.argwhere(anatomy.brain[::step, ::step, ::step]) * step
    low, high = (anatomy.grid.points_of(index) for index in (used.min(0), used.max(0)))
    spacing = (protocol.slice_mm, protocol.pixel_mm, protocol.pixel_mm)
    if protocol.shape is not None:
        shape = protocol.shape
    else:
        size = high - low + np.array(margin_mm)
        rows, columns = (int(np.ceil(mm / protocol.pixel_mm / 16)) * 16 for mm in size[1:])
        shape = (int(np.ceil(size[0] / protocol.slice_mm)), rows, columns)
    origin = (low + high) / 2 - (np.array(shape) - 1) / 2 * np.array(spacing)
    return Grid(shape, tuple(float(mm) for mm in origin), spacing)  # type: ignore[arg-type]


def object_signal(
    rng: np.random.Generator, anatomy: Anatomy, scan: ScanPlan, veins: VeinPoints
) -> HeadSignal:
    """Compute the signal of the head on the sub-slices, before lesions, mimics and receiver.

    `rng` draws individual iron, relaxation and texture. Veins are those of the anatomy and of
    mimics.
    """
    magnitude_map, chi_map, white = _tissue_maps(rng, anatomy, scan.protocol)
    vein = spoiled_echo(TISSUES["vein"], scan.protocol), rng.uniform(0.36, 0.52)
    return signal_of(magnitude_map, chi_map, white, anatomy, scan, veins, vein)


def signal_of(
    magnitude_map: FloatArray,
    chi_map: FloatArray,
    white: float,
    anatomy: Anatomy,
    scan: ScanPlan,
    veins: VeinPoints,
    vein: tuple[float, float],
) -> HeadSignal:
    """Compute the signal on the sub-slices of tissues that are mixed already.

    Magnitude and susceptibility in ppm are on the grid of the anatomy, of which only grids, air and
    bone count. `vein` is magnitude and susceptibility of blood.
    """
    blood = _blood_share(veins, scan.work)
    chi = resample(chi_map, anatomy.grid, scan.work, outside=0.0)
    chi += blood * (np.float32(vein[1]) - chi)
    phase = dipole_field(chi, scan.work.spacing_mm, scan.b0_zyx)
    del chi
    head, drop_out = _head_field(anatomy, scan)
    phase += head
    phase *= np.float32(scan.protocol.radians_per_ppm)
    magnitude = resample(magnitude_map, anatomy.grid, scan.work, outside=0.0)
    magnitude += blood * (np.float32(vein[0]) - magnitude)
    magnitude *= drop_out
    signal = np.empty(magnitude.shape, np.complex64)
    np.multiply(magnitude, np.cos(phase), out=signal.real)
    np.multiply(magnitude, np.sin(phase), out=signal.imag)
    return HeadSignal(
        signal, white, *(average_sub_slices(part, scan) for part in (blood, drop_out))
    )


def shows_lesions(
    points_mm: NDArray[np.floating], scan: ScanPlan, seen: HeadSignal, slices: ComplexArray
) -> NDArray[np.bool_]:
    """Tell whether a lesion could be seen: in bright tissue, not in large veins or drop-out.

    Positions are (n, 3), `slices` are (z, y, x). The answer is no at the edge of the image.
    """
    last = np.array(scan.grid.shape) - 1
    index = scan.grid.nearest(points_mm)
    inside = np.all((index >= 1) & (index < last), axis=1)
    z, y, x = np.clip(index, 0, last).T
    bright = np.abs(slices[z, y, x]) > VISIBLE_SHARE * seen.white
    result: NDArray[np.bool_] = (
        inside & bright & (seen.blood[z, y, x] < 0.15) & (seen.left[z, y, x] > 0.6)
    )
    return result


def _tissue_maps(
    rng: np.random.Generator, anatomy: Anatomy, protocol: Protocol
) -> tuple[FloatArray, FloatArray, float]:
    """Magnitude and susceptibility on the anatomy's grid, and the magnitude of white matter.

    Tissues are mixed here, at 1 mm, so that only two maps have to be resampled.
    """
    magnitude = np.zeros(anatomy.grid.shape, np.float32)
    chi = np.zeros(anatomy.grid.shape, np.float32)

    def add(share: NDArray[Any], signal: float, chi_ppm: float) -> None:
        weight = share.astype(np.float32)
        weight /= 255
        np.add(magnitude, np.float32(signal) * weight, out=magnitude)
        np.add(chi, np.float32(chi_ppm) * weight, out=chi)

    echo = {
        name: spoiled_echo(tissue, protocol, r2s_factor=rng.normal(1, 0.06))
        for name, tissue in TISSUES.items()
    }
    for name, share in (("cortex", anatomy.grey), ("white", anatomy.white), ("csf", anatomy.csf)):
        add(share, echo[name], TISSUES[name].chi_ppm)
    for label, name in enumerate(NUCLEI, start=1):
        iron = float(np.clip(rng.normal(1, 0.3), 0.3, 2.0))
        signal = spoiled_echo(TISSUES[name], protocol, r2s_factor=0.5 + 0.5 * iron)
        share = np.where(anatomy.nucleus == label, anatomy.nucleus_share, 0)
        add(share, signal, TISSUES[name].chi_ppm * iron)
    texture = ndimage.gaussian_filter(rng.standard_normal(chi.shape, np.float32), 1.2, truncate=2)
    magnitude *= 1 + np.float32(0.03 / texture.std()) * texture
    add(anatomy.scalp, echo["scalp"] * rng.uniform(0.4, 1.1), 0.0)
    add(anatomy.shell, 0.7 * echo["csf"], TISSUES["csf"].chi_ppm)
    return magnitude, chi, echo["white"]


def _blood_share(veins: VeinPoints, grid: Grid) -> FloatArray:
    """Share of each voxel that is venous blood, 0 to 1."""
    index = grid.nearest(veins.points_mm)
    inside = np.all((index >= 0) & (index < np.array(grid.shape)), axis=1)
    flat = np.ravel_multi_index(tuple(index[inside].T), grid.shape)
    share = np.zeros(int(np.prod(grid.shape)), np.float32)
    np.add.at(share, flat, veins.volume_mm3[inside] / np.float32(np.prod(grid.spacing_mm)))
    return np.minimum(share, 1, out=share).reshape(grid.shape)


def _head_field(anatomy: Anatomy, scan: ScanPlan) -> tuple[FloatArray, FloatArray]:
    """Field of air and bone in ppm after shimming, and the signal left by its gradients."""
    field = _shimmed_field(anatomy, tuple(float(part) for part in scan.b0_zyx))
    grid = anatomy.chi_grid
    left = np.ones_like(field)
    for axis, size_mm in enumerate(scan.work.spacing_mm):
        change = np.gradient(field, grid.spacing_mm[axis], axis=axis) * size_mm
        # A linear phase of a radians across a voxel leaves sin(a / 2) / (a / 2) of its signal.
        left *= np.abs(np.sinc(scan.protocol.radians_per_ppm * change / (2 * np.pi)))
    return resample(field, grid, scan.work), resample(left, grid, scan.work)


@functools.lru_cache(maxsize=2)
def _shimmed_field(anatomy: Anatomy, b0_zyx: tuple[float, float, float]) -> FloatArray:
    """Field of air and bone on the coarse grid; one head is scanned more than once."""
    shape = tuple(
        scipy.fft.next_fast_len(int(1.4 * size), real=axis == 2)
        for axis, size in enumerate(anatomy.chi_ppm.shape)
    )
    field = dipole_field(
        anatomy.chi_ppm, anatomy.chi_grid.spacing_mm, np.array(b0_zyx), padded_shape=shape
    )
    brain = resample(anatomy.brain.astype(np.float32), anatomy.grid, anatomy.chi_grid, outside=0.0)
    return remove_shim(field, brain > 0.5, anatomy.chi_grid.spacing_mm[0])


def average_sub_slices(signal: NDArray[Pixel], scan: ScanPlan) -> NDArray[Pixel]:
    """Average sub-slices as complex numbers to slices, as dephasing through a slice does.

    What lies in the gap between two slices is not seen. The signal on `ScanPlan.work` becomes one
    of the same dtype on `ScanPlan.grid`.
    """
    slices = signal.reshape(-1, scan.sub_slices, *signal.shape[1:])
    mean: NDArray[Pixel] = np.einsum("zkyx,k->zyx", slices, scan.excited)
    return mean.astype(signal.dtype, copy=False)
