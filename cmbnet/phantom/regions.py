"""Nuclei and regions as simple shapes in MNI space (x is mirrored)."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cmbnet.phantom.grid import FloatArray
from cmbnet.phantom.tissue import NUCLEI

Triple = tuple[float, float, float]
Coordinates = tuple[FloatArray, FloatArray, FloatArray]

NUCLEUS_SHAPES: dict[str, tuple[tuple[Triple, Triple], ...]] = {
    "thalamus": (((7, -18, 11), (8, 13, 9)),),
    "caudate": (((10, 14, 12), (10, 11, 6)), ((20, -2, 15), (5, 12, 4))),
    "putamen": (((0, 4, 26), (9, 16, 6.5)),),
    "pallidus": (((-1, -4, 19), (5.5, 8.5, 5)),),
    "red nucleus": (((-8, -20, 5), (3.8, 3.5, 3.2)),),
    "nigra": (((-12, -18, 10), (3.5, 4, 5)),),
    "dentate": (((-34, -56, 15), (5, 7, 7)),),
}
"""Centre and radii (z, y, |x|) in MNI mm of the ellipsoids a nucleus is made of."""

AIR_SPACES: tuple[tuple[Triple, Triple], ...] = (
    ((2, 72, 0), (14, 6, 22)),  # frontal
    ((-36, 40, 0), (9, 14, 11)),  # sphenoid
    ((-34, 62, 0), (14, 12, 9)),  # ethmoid
    ((-44, -38, 48), (12, 12, 9)),  # mastoid
    ((-34, -22, 44), (5, 5, 8)),  # petrous
)


class Region(IntEnum):
    """Where a lesion lies."""

    NONE = 0
    FRONTAL = 1
    PARIETAL = 2
    TEMPORAL = 3
    OCCIPITAL = 4
    THALAMUS = 5
    PUTAMEN = 6
    PALLIDUS = 7
    CAUDATE = 8
    CAPSULE = 9
    CEREBELLUM = 10
    BRAINSTEM = 11

    @property
    def group(self) -> str:
        """``lobar``, ``deep`` or ``infratentorial``."""
        if self <= Region.OCCIPITAL:
            return "lobar"
        return "deep" if self <= Region.CAPSULE else "infratentorial"


def ellipsoid_radius(q: Coordinates, centre: Triple, radii: Triple) -> FloatArray:
    """Return the normalised radius, 1 on the surface, of an ellipsoid mirrored in x."""
    z, y, x = q
    square = (
        ((z - centre[0]) / radii[0]) ** 2
        + ((y - centre[1]) / radii[1]) ** 2
        + ((np.abs(x) - centre[2]) / radii[2]) ** 2
    )
    result: FloatArray = np.sqrt(square).astype(np.float32)
    return result


def neck_and_face(q: Coordinates) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find neck and face by cylinders in MNI space."""
    z, y, x = q
    neck = (z < -55) & ((x / 62) ** 2 + ((y + 22) / 72) ** 2 < 1)
    return neck, (z < -28) & ((x / 58) ** 2 + ((y - 40) / 48) ** 2 < 1)


def nuclei_of(
    q: Coordinates, grey: FloatArray, csf: FloatArray
) -> tuple[NDArray[np.uint8], FloatArray]:
    """Find the label (index into `NUCLEI` plus 1) and share of the nucleus in every voxel.

    `q` are MNI coordinates z, y, x. The caudate fills only grey matter, and CSF leaves nuclei
    beside the ventricles free.
    """
    label = np.zeros(grey.shape, np.uint8)
    share = np.zeros(grey.shape, np.float32)
    for number, name in enumerate(NUCLEI, start=1):
        part = np.zeros(grey.shape, np.float32)
        for centre, radii in NUCLEUS_SHAPES[name]:
            part = np.maximum(
                part, np.clip((1.08 - ellipsoid_radius(q, centre, radii)) / 0.16, 0, 1)
            )
        if name == "caudate":
            part *= np.clip(1.6 * grey, 0.25, 1)
        if name in ("caudate", "putamen", "thalamus"):
            part *= 1 - np.clip(1.5 * csf, 0, 1)
        wins = part > np.maximum(0.5 * share, 0.02)
        label[wins] = number
        share[wins] = part[wins]
    return label, share


def region_of(
    q: Coordinates, nucleus: NDArray[np.uint8], brain: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Find the region of every voxel, by planes and boxes in MNI space.

    `q` are MNI coordinates z, y, x; `nucleus` are labels of `nuclei_of`.
    """
    z, y, x = q
    side = np.abs(x)
    region = np.where(y > -5 - 0.5 * (z - 20), Region.FRONTAL, Region.PARIETAL).astype(np.uint8)
    region[((y < -72) & (z < 35)) | (y < -90)] = Region.OCCIPITAL
    temporal = (side > 22) & (y < 20) & (y > -62) & (z < 4 - 0.25 * (y + 10))
    region[temporal & ((y < 0) | (z < -12))] = Region.TEMPORAL
    capsule = (side > 10) & (side < 33) & (y > -28) & (y < 20) & (z > -7) & (z < 20)
    region[capsule] = Region.CAPSULE
    for name, value in (
        ("thalamus", Region.THALAMUS), ("caudate", Region.CAUDATE),
        ("putamen", Region.PUTAMEN), ("pallidus", Region.PALLIDUS),
    ):  # fmt: skip
        region[nucleus == NUCLEI.index(name) + 1] = value
    region[(y < -36) & (z < -6 + 0.33 * (y + 42)) & (side < 60)] = Region.CEREBELLUM
    region[(side < 18) & (y < -10) & (y > -44) & (z < -12)] = Region.BRAINSTEM
    region[~brain] = Region.NONE
    return region
