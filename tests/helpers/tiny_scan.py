"""A scan of 24 x 96 x 96 voxels that passes the quality gate, with dark dots where asked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy.ndimage import gaussian_filter

from cmbnet.lesions import spacing_affine
from cmbnet.volume import Volume

SHAPE = (24, 96, 96)
SPACING_MM = (3.0, 1.0, 1.0)
DOTS = ((12, 48, 30), (8, 40, 60), (15, 62, 55))
"""Voxels (z, y, x) inside the head, far from its border and from each other."""


def tiny_scan(
    dots: Sequence[tuple[int, int, int]] = DOTS,
    *,
    seed: int = 0,
    radii_mm: tuple[float, float, float] = (33, 42, 37),
) -> Volume:
    """A bright ellipsoid with texture, noise and 4 x 4 mm dots of two slices.

    The dots are voxels (z, y, x), their first corners. The seed is that of texture and noise.
    """
    deep, long, wide = radii_mm
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE).astype(np.float32)
    inside = ((z - 11.5) * 3 / deep) ** 2 + ((y - 47.5) / long) ** 2 + ((x - 47.5) / wide) ** 2 < 1
    texture = gaussian_filter(rng.standard_normal(SHAPE), (1.3, 4, 4))
    data = 600 * inside * (1 + 0.1 * texture / texture.std())
    for k, j, i in dots:
        data[k : k + 2, j : j + 4, i : i + 4] = 20
    data = np.abs(data + 8 * rng.standard_normal(SHAPE))
    affine = spacing_affine(SPACING_MM)
    affine[:3, 3] = (-47.5, -47.5, -34.5)
    return Volume(data.astype(np.float32), affine, source=f"tiny-{seed}")


small_scan = partial(tiny_scan, radii_mm=(28, 35, 31))
"""The same with too little brain for regions, whose alignment takes most of the time."""
