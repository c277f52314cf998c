"""Susceptibility weighting: homodyne phase, phase mask, product with the magnitude."""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy import ndimage

from cmbnet.phantom.grid import FloatArray, Grid
from cmbnet.phantom.protocol import Protocol, WideProtocol
from cmbnet.phantom.scan import ComplexArray


def high_passed_phase(image: ComplexArray, grid: Grid, cutoff_per_mm: float) -> FloatArray:
    """Compute the phase relative to a low-passed copy of the image, -pi to pi.

    The low-pass is a Hann window in k-space that ends at `cutoff_per_mm` cycles per mm: given in
    pixels it would change its meaning with the matrix.
    The image is (n, y, x) complex64. The window reaches zero at `cutoff_per_mm`.

    References:
        Haacke, Xu, Cheng, Reichenbach, Magn Reson Med 2004 (susceptibility weighted imaging).
    """
    ky = scipy.fft.fftfreq(image.shape[1], grid.spacing_mm[1])[:, None]
    kx = scipy.fft.fftfreq(image.shape[2], grid.spacing_mm[2])[None]
    radius = np.minimum(np.hypot(ky, kx) / cutoff_per_mm, 1.0)
    hann = (0.5 + 0.5 * np.cos(np.pi * radius)).astype(np.float32)
    spectrum = scipy.fft.fft2(image, axes=(1, 2))
    spectrum *= hann
    low = scipy.fft.ifft2(spectrum, axes=(1, 2), overwrite_x=True)
    np.conjugate(low, out=low)
    low *= image
    phase: FloatArray = np.angle(low)
    return phase


def susceptibility_weighted(image: ComplexArray, grid: Grid, protocol: Protocol) -> FloatArray:
    """Make the image that a reader sees: SWI, or magnitude if the protocol says so.

    The mask falls from 1 at phase 0 to 0 at pi for the sign that veins along the field have, and
    is multiplied in `protocol.mask_power` times.
    Complex64 (n, y, x) becomes float32 that is not negative.
    """
    magnitude: FloatArray = np.abs(image)
    if protocol.output == "swi":
        phase = high_passed_phase(image, grid, protocol.high_pass_per_mm)
        magnitude *= _phase_mask(phase, protocol) ** protocol.mask_power
    if isinstance(protocol, WideProtocol):
        magnitude = _filtered(magnitude, protocol)
    return magnitude


def _filtered(image: FloatArray, protocol: WideProtocol) -> FloatArray:
    """What a scanner does to please the eye: smoothing, or more of the edges."""
    if protocol.smoothing_px:
        width = (0, protocol.smoothing_px, protocol.smoothing_px)
        image = ndimage.gaussian_filter(image, width, truncate=3)
    if protocol.sharpening:
        smooth = ndimage.gaussian_filter(image, (0, 1, 1), truncate=3)
        image = np.maximum(image + np.float32(protocol.sharpening) * (image - smooth), 0)
    return image


def _phase_mask(phase: FloatArray, protocol: Protocol) -> FloatArray:
    """1 where the phase says nothing, 0 where it says blood."""
    kind = protocol.mask if isinstance(protocol, WideProtocol) else "power"
    if kind == "symmetric":
        phase = np.abs(phase)
    if kind == "tanh":
        soft: FloatArray = 0.5 - 0.5 * np.tanh(3 * (phase / np.float32(np.pi) - 0.5))
        return soft / np.float32(0.5 + 0.5 * np.tanh(1.5))
    mask: FloatArray = np.clip(1 - phase / np.float32(np.pi), 0, 1)
    return mask
