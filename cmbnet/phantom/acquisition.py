"""The receiver: coil bias, k-space, motion and noise."""

from __future__ import annotations

import numpy as np
import scipy.fft

from cmbnet.phantom.grid import FloatArray, Grid, broadcast
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.scan import ComplexArray

EDGE_WIDTH = 0.05
"""Width of the Fermi edge of the acquired k-space, as a share of its radius."""


def receive_bias(
    rng: np.random.Generator, shape: tuple[int, int, int], strength: float
) -> FloatArray:
    """Draw the sensitivity of the coil, about 1, higher toward the surface and tilted a little."""
    z, y, x = broadcast(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape))
    tilt_y, tilt_x = rng.uniform(-0.12, 0.12, 2).astype(np.float32)
    bias = 0.35 * x**2 + 0.35 * y**2 - 0.15 * z**2 + tilt_y * y + tilt_x * x
    result: FloatArray = 1 + np.float32(strength) * (bias - bias.mean())
    return result


def acquire(
    slices: ComplexArray,
    protocol: Protocol,
    *,
    noise_sd: float = 0.0,
    rng: np.random.Generator | None = None,
    motion: ComplexArray | None = None,
) -> ComplexArray:
    """Take slices through k-space.

    Slices are (n, y, x) complex64, noise-free. `noise_sd` is the standard deviation of real and
    imaginary part in the image. `motion` is a factor (y, x) of k-space, see `motion_factor`. Return
    (n, y, x) complex64.
    """
    window = _window(slices.shape[1:], protocol)
    if noise_sd and rng is not None:
        sd = noise_sd / np.sqrt(np.mean(window**2))  # the window takes part of it away again
        noise = rng.standard_normal((*slices.shape, 2), np.float32)
        noise *= np.float32(sd)
        slices = slices + noise.view(np.complex64)[..., 0]
    spectrum = scipy.fft.fft2(slices, axes=(1, 2))
    spectrum *= window if motion is None else window * motion
    result: ComplexArray = scipy.fft.ifft2(spectrum, axes=(1, 2), overwrite_x=True)
    return result


def _window(shape: tuple[int, ...], protocol: Protocol) -> FloatArray:
    """What of k-space is acquired: 1 inside, a soft edge, rounded corners, 0 in the rest."""
    kept = protocol.pixel_mm / protocol.acquired_mm
    ky = np.abs(scipy.fft.fftfreq(shape[0]))[:, None] / (0.5 * kept * protocol.phase_fraction)
    kx = np.abs(scipy.fft.fftfreq(shape[1]))[None] / (0.5 * kept)
    radius = np.maximum(np.maximum(ky, kx), 0.85 * np.hypot(ky, kx))
    window: FloatArray = (1 / (1 + np.exp((radius - 1) / EDGE_WIDTH))).astype(np.float32)
    return window


def motion_factor(rng: np.random.Generator, grid: Grid, sd_mm: float = 0.45) -> ComplexArray:
    """Draw the factor of k-space of a head that lies still in one place after another.

    Lines are acquired in order along the phase axis; each move shifts what comes after it.
    The centre of k-space stays where it was.
    """
    rows = grid.shape[1]
    order = scipy.fft.ifftshift(np.arange(rows))
    shift = np.zeros((rows, 2))
    for start in rng.integers(0, rows, rng.integers(2, 6)):
        shift[order >= start] = rng.normal(0, sd_mm, 2)
    shift -= shift[order == rows // 2]
    ky = scipy.fft.fftfreq(rows, grid.spacing_mm[1])
    kx = scipy.fft.fftfreq(grid.shape[2], grid.spacing_mm[2])
    turns = (ky * shift[:, 0])[:, None] + shift[:, 1][:, None] * kx
    factor: ComplexArray = np.exp(-2j * np.pi * turns).astype(np.complex64)
    return factor
