"""The field that susceptibility causes, by Fourier transform and in closed form."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cmbnet.phantom.grid import FloatArray, broadcast


def dipole_field(
    chi_ppm: FloatArray,
    spacing_mm: tuple[float, float, float],
    b0_zyx: NDArray[np.float64],
    *,
    padded_shape: tuple[int, int, int] | None = None,
) -> FloatArray:
    """Compute the relative field offset of a susceptibility map, Lorentz-corrected.

    ``F^-1{(1/3 - (k.b)^2 / |k|^2) F{chi}}``, zero at k = 0. The map is periodic unless padded.
    `chi_ppm` is the susceptibility (z, y, x) relative to the surroundings (SI), `b0_zyx` the unit
    vector of the main field in array axes. Arrays are padded with zeros, by default to the next
    sizes that are quick. Return float32 (z, y, x) in ppm of the main field.

    References:
        Salomir 2003, doi:10.1002/cmr.b.10083. Marques & Bowtell 2005, doi:10.1002/cmr.b.20034.
    """
    shape = padded_shape or tuple(
        scipy.fft.next_fast_len(size, real=axis == 2) for axis, size in enumerate(chi_ppm.shape)
    )
    spectrum = scipy.fft.rfftn(chi_ppm.astype(np.float32, copy=False), s=shape)
    kz, ky, kx = broadcast(
        *(
            (scipy.fft.rfftfreq if axis == 2 else scipy.fft.fftfreq)(size, spacing_mm[axis]).astype(
                np.float32
            )
            for axis, size in enumerate(shape)
        )
    )
    bz, by, bx = (np.float32(component) for component in b0_zyx)
    in_plane_square = ky**2 + kx**2
    in_plane_along = ky * by + kx * bx
    for index in range(shape[0]):  # a slice at a time: the kernel is never held whole
        square = in_plane_square[0] + kz[index, 0, 0] ** 2
        along = in_plane_along[0] + kz[index, 0, 0] * bz
        if index == 0:
            square[0, 0] = 1.0
        kernel = np.float32(1 / 3) - along**2 / square
        if index == 0:
            kernel[0, 0] = 0.0
        spectrum[index] *= kernel
    field = scipy.fft.irfftn(spectrum, s=shape, overwrite_x=True)
    z, y, x = chi_ppm.shape
    result: FloatArray = np.ascontiguousarray(field[:z, :y, :x])
    return result


def remove_shim(field: FloatArray, inside: NDArray[np.bool_], spacing_mm: float) -> FloatArray:
    """Subtract the quadratic polynomial that a shim would remove inside a mask.

    The field offset is (z, y, x), the voxel size isotropic; it only scales the terms.
    """
    axes = [(np.arange(n, dtype=np.float32) - n / 2) * spacing_mm / 100 for n in field.shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    terms = [np.ones((1, 1, 1), np.float32), z, y, x, z * y, z * x, y * x, z * z, y * y, x * x]
    every = slice(None, None, 2)
    sample = inside[every, every, every]
    columns = [np.broadcast_to(term, field.shape)[every, every, every][sample] for term in terms]
    weights, *_ = np.linalg.lstsq(
        np.stack(columns, axis=1), field[every, every, every][sample], rcond=None
    )
    shimmed = field.copy()
    for weight, term in zip(weights, terms, strict=True):
        shimmed -= np.float32(weight) * term
    return shimmed
