"""A head of ellipsoids: brain, dark skull, bright scalp, air; enough to test preprocessing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmbnet.volume import Volume

WHITE_MATTER = 1000.0


def affine_for(
    spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]
) -> NDArray[np.float64]:
    """RAS, the middle of the grid at 0 mm."""
    z, y, x = spacing_mm
    affine = np.zeros((4, 4))
    affine[0, 2], affine[1, 1], affine[2, 0], affine[3, 3] = x, y, z, 1.0
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def make_head(
    *,
    shape: tuple[int, int, int] = (40, 96, 80),
    spacing_mm: tuple[float, float, float] = (4.0, 2.4, 2.4),
    scalp: bool = True,
    shading: float = 0.0,
    noise: float = 0.02,
    seed: int = 0,
) -> tuple[Volume, NDArray[np.bool_]]:
    """A head and its true brain. `shading` is the relative change of signal over 100 mm."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(
        *[(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing_mm, strict=True)],
        indexing="ij",
    )

    def ellipsoid(a: float, b: float, c: float) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = (z / a) ** 2 + (y / b) ** 2 + (x / c) ** 2 < 1
        return inside

    brain = ellipsoid(62, 84, 66)
    signal = np.zeros(shape)
    if scalp:
        signal[ellipsoid(76, 98, 80) & ~ellipsoid(70, 92, 74)] = 0.9 * WHITE_MATTER
    signal[brain] = WHITE_MATTER
    # Folds and ventricles: some structure of a few mm.
    folds = np.sin(x / 3.1) * np.sin(y / 3.7) * np.sin(z / 5.3)
    signal[brain] *= 1 + 0.12 * folds[brain]
    signal[ellipsoid(12, 25, 9)] = 0.75 * WHITE_MATTER
    signal *= 1 + shading * y / 100
    grain = rng.normal(size=(2, *shape)) * noise * WHITE_MATTER
    data = np.hypot(signal + grain[0], grain[1]) if noise else signal
    return Volume(data.astype(np.float32), affine_for(spacing_mm, shape), "head"), brain
