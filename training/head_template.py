"""Derive the head template of `cmbnet.regions` from the ICBM152 maps that nilearn carries.

Usage, from the root of the repository:
    python training/head_template.py cmbnet/regions/head.npz

The regions are the 13 of the Microbleed Anatomical Rating Scale (Gregoire 2009). They are made of
planes, ellipsoids, a curve and the tissue maps, in MNI millimetres, and are the same on both sides.
Where numbers were free, they were set so that the regions agree with an atlas of the scale
(`benchmarks/regions.py`), so that agreement is that of a fit.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.template import Template, load_template
from cmbnet.regions.places import REGIONS

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

LABEL_MM, TISSUE_MM = 2, 4
PAD = 3
"""Empty cells of tissue around the head."""

REACH_MM = 6.0
"""So far outside the brain a place still gets the region beside it."""

DEEP_SIGMA_MM, DEEP_WHITE = 3.5, 0.70
"""White matter is deep where this much of its blurred map is left."""

CALLOSUM = (
    (18, -8), (29, 0), (31, 9), (25, 17), (12, 23), (-3, 26), (-18, 26), (-30, 22), (-40, 13),
    (-38, 5),
)  # fmt: skip
"""Middle line (y, z) of the corpus callosum in the sagittal plane."""

STEM = (
    (2, -21, 5, 6), (-4, -19, 12, 14), (-15, -20, 15, 18), (-30, -23, 17, 20), (-45, -30, 13, 14),
    (-60, -38, 10, 11), (-75, -44, 9, 10),
)  # fmt: skip
"""Sections of the brainstem: z, y of the centre, half depth, half width."""


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    arrays = derive(load_template("mni"))
    with parser.parse_args().file.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def derive(template: Template) -> dict[str, NDArray[np.generic]]:
    """The arrays of the file: labels on a 2 mm grid, shares of tissue on a 4 mm grid."""
    maps = [template.brain, template.grey, template.white]
    brain, grey, white = (_coarse(part, LABEL_MM) for part in maps)
    blurred = ndimage.gaussian_filter(white, DEEP_SIGMA_MM / LABEL_MM)
    origin = np.array(template.origin_mm) + (LABEL_MM - 1) / 2
    axes = np.ogrid[tuple(slice(0, n) for n in brain.shape)]
    z, y, x = (axis * LABEL_MM + start for axis, start in zip(axes, origin, strict=True))
    labels = regions(z, y, x, (grey, white, blurred))
    labels[ndimage.distance_transform_edt(brain < 0.5) * LABEL_MM > REACH_MM] = 0
    tissues = np.stack([np.pad(_coarse(part, TISSUE_MM), PAD) for part in maps], axis=-1)
    return {
        "labels": labels,
        "labels_origin_mm": origin,
        "tissues": np.rint(tissues * 255).astype(np.uint8),
        "tissues_origin_mm": np.array(template.origin_mm) + (TISSUE_MM - 1) / 2 - PAD * TISSUE_MM,
    }


def _coarse(values: Floats, factor: int) -> NDArray[np.float32]:
    """Means of cubes."""
    z, y, x = (n // factor for n in values.shape)
    cut = values[: z * factor, : y * factor, : x * factor]
    means: NDArray[np.float32] = cut.reshape(z, factor, y, factor, x, factor).mean(axis=(1, 3, 5))
    return means


def regions(z: Floats, y: Floats, x: Floats, tissues: tuple[Floats, ...]) -> NDArray[np.uint8]:
    """Number of the region (index into `REGIONS` plus 1) of every cell; later ones win.

    Args:
        z: MNI coordinate, to broadcast; so are y and x.
        y: To the front.
        x: To the right.
        tissues: Shares of grey matter, of white matter, and of white matter blurred.
    """
    grey, white, blurred = tissues
    side = np.abs(x)

    def ball(cz: float, cy: float, cx: float, rz: float, ry: float, rx: float) -> Bools:
        inside: Bools = ((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((side - cx) / rx) ** 2 < 1
        return inside

    labels = np.zeros(grey.shape, np.uint8)

    def paint(name: str, where: Bools) -> None:
        labels[np.broadcast_to(where, labels.shape)] = REGIONS.index(name) + 1

    paint("parietal", np.array(True))
    paint("frontal", y > 1 - 0.45 * z + 0.1 * (side - 35))  # the central sulcus
    occipital = y < -62 - 0.4 * z - 0.2 * (side - 25)
    paint("occipital", occipital)
    sylvian = 8 - np.where(y > -5, 0.95, 0.15) * (y + 5)
    paint("temporal", (side > 28) & (z < sylvian) & (y < 27) & ~occipital)
    paint("temporal", (side > 10) & (z < -8) & (y < 12) & (y > -50) & ~occipital)
    deep = blurred > DEEP_WHITE
    paint("deep white matter", deep)
    paint("insula", ball(3, 2, 35, 21, 27, 9.5) & ~deep)
    paint("external capsule", ball(-2, -4, 32, 13, 23, 6))
    paint("internal capsule", ball(5, -9, 19, 18, 32, 15) & (white > 0.5) & (z > -12))
    caudate = (ball(8, 12, 12, 20, 20, 8) | ball(24, -4, 17, 8, 17, 6)) & (grey > 0.3)
    lentiform = ball(0, 4, 23, 13, 23, 9) | ball(-3, 3, 17, 11, 12, 9)
    paint("basal ganglia", (caudate | lentiform) & (grey > 0.2))
    paint("thalamus", ball(7, -21, 8, 18, 20, 13))
    paint("corpus callosum", (_from_curve(y, z) < 7) & (side < 17) & (white > 0.4))
    tentorium = -10 + 0.2 * (y + 60) - 0.01 * side**2
    paint("cerebellum", (z < tentorium) & (y < -32))
    height, centre, deep_mm, wide_mm = np.array(STEM[::-1], float).T
    centre, deep_mm, wide_mm = (np.interp(z, height, part) for part in (centre, deep_mm, wide_mm))
    paint("brainstem", (((y - centre) / deep_mm) ** 2 + (side / wide_mm) ** 2 < 1) & (z < -2))
    return labels


def _from_curve(y: Floats, z: Floats) -> Floats:
    """Distance in mm to the curve of the corpus callosum, in the sagittal plane."""
    corners = np.array(CALLOSUM, float)
    points = [
        start + (end - start) * share
        for start, end in pairwise(corners)
        for share in np.linspace(0, 1, 12)
    ]
    nearest: Floats = np.min([np.hypot(y - point[0], z - point[1]) for point in points], axis=0)
    return nearest


if __name__ == "__main__":
    main()
