"""Draw heads as label maps of all that a brain mask has to tell apart, without any contrast.

The brain comes from the phantom's templates, moved by the phantom's deformations. Everything around
it is drawn here, with wide priors: fluid, dura, two tables of bone with marrow between, fat, skin,
neck, face, eyes, air, falx and tentorium, sinuses along their course, veins, wide sulci.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.grid import FloatArray, Grid, resample
from cmbnet.phantom.individual import draw_deformation
from cmbnet.phantom.regions import (
    AIR_SPACES,
    Coordinates,
    Triple,
    ellipsoid_radius,
    nuclei_of,
)
from cmbnet.phantom.template import AnatomyKind, load_template

Bools = NDArray[np.bool_]

GRID: Final = Grid((154, 164, 128), (-120.0, -130.0, -95.0), (1.5, 1.5, 1.5))
"""A grid that holds any head down to the neck, in the head's own mm."""

IN_BRAIN, IN_HULL = 32, 64
"""Flags beside the label: the wanted brain mask, and the brain with all the fluid around it."""


class Label(IntEnum):
    """The tissue of a voxel."""

    AIR = 0
    WHITE = 1
    GREY = 2
    VENTRICLE = 3
    NUCLEI = 4
    IRON = 5
    CEREBELLUM = 6
    STEM = 7
    FLUID = 8
    DURA = 9
    BONE = 10
    MARROW = 11
    FAT = 12
    SKIN = 13
    FLESH = 14  # and the three after it: patches of muscle, glands, mucosa
    SINUS = 18
    VEIN = 19
    CAVITY = 20
    EYE = 21
    CORD = 22


N_LABELS: Final = 23
N_FLESH: Final = 4

BRAIN: Final = tuple(Label(code) for code in range(Label.WHITE, Label.STEM + 1))

VENTRICLES: Final[tuple[tuple[Triple, Triple], ...]] = (
    ((17, -8, 11), (17, 46, 17)),  # bodies and frontal horns
    ((4, -55, 24), (14, 28, 13)),  # trigones and occipital horns
    ((-15, -20, 31), (10, 22, 9)),  # temporal horns
    ((-2, -12, 0), (15, 20, 6)),  # third
    ((-30, -45, 0), (15, 11, 11)),  # fourth
)
"""Ellipsoids in which fluid is a ventricle: centre and radii (z, y, |x|) in MNI mm."""


@dataclass(frozen=True, slots=True)
class LabelHead:
    """A head before it is scanned."""

    codes: NDArray[np.uint8]  # `Label` with the flags `IN_BRAIN` and `IN_HULL`, uint8 on `GRID`
    air_mm: FloatArray  # Centres (n, 3) of the air spaces, around which signal may drop out


@dataclass(frozen=True, slots=True)
class _Place:
    """The position of every voxel in MNI mm, and its distance outside the brain's hull."""

    q: Coordinates
    outside_mm: FloatArray


def draw_head(kind: AnatomyKind, seed: int) -> LabelHead:
    """Draw a head.

    ``"mni"`` needs nilearn. The same seed gives the same head.
    """
    rng = np.random.default_rng([seed, 31])
    deformation = draw_deformation(
        rng, GRID, scale=rng.uniform(0.88, 1.06), ventricles=float(rng.beta(1.2, 1.2))
    )
    q = deformation.on(GRID)
    grey, white, hull = load_template(kind).at(q)
    place = _Place(q, _signed_distance(hull))
    labels = _surroundings(rng, place)
    _brain(rng, labels, place, grey, white)
    _sinuses(rng, labels, place)
    brain = _mask(labels)
    codes = labels + brain * np.uint8(IN_BRAIN) + hull * np.uint8(IN_HULL)
    centres = [(z, y, side * x) for (z, y, x), _ in AIR_SPACES for side in ((-1, 1) if x else (1,))]
    return LabelHead(codes, deformation.from_mni(np.array(centres, np.float32)))


def _signed_distance(hull: Bools) -> FloatArray:
    """Compute the distance to the surface of a mask in mm, negative inside."""
    spacing = GRID.spacing_mm
    outside: FloatArray = ndimage.distance_transform_edt(~hull, sampling=spacing)
    inside = ndimage.distance_transform_edt(hull, sampling=spacing)
    half = spacing[0] / 2
    return np.where(hull, half - inside, outside - half).astype(np.float32)


def _noise(rng: np.random.Generator, sigma_mm: float) -> FloatArray:
    """Draw smooth noise of unit spread on the grid."""
    coarse = GRID.coarser(max(1, int(sigma_mm / 2 / GRID.spacing_mm[0])))
    noise = ndimage.gaussian_filter(
        rng.standard_normal(coarse.shape, np.float32), sigma_mm / coarse.spacing_mm[0],
        mode="wrap", truncate=3,
    )  # fmt: skip
    return resample(noise / noise.std(), coarse, GRID)


def _sheets(rng: np.random.Generator, sigma_mm: float) -> FloatArray:
    """Compute the distance in mm to folded sheets, the zero surfaces of smooth noise."""
    noise = _noise(rng, sigma_mm)
    slope = np.sqrt(sum(part**2 for part in np.gradient(noise, *GRID.spacing_mm)))
    distance: FloatArray = np.abs(noise / (slope + 0.15 * slope.mean()))
    return distance


def _surroundings(rng: np.random.Generator, place: _Place) -> NDArray[np.uint8]:
    """Draw all that is not brain in layers of random thickness. The hull is full of fluid."""
    z, y, x = place.q
    face = (z < -25) & ((x / rng.uniform(56, 68)) ** 2 + ((y - 40) / rng.uniform(46, 58)) ** 2 < 1)
    neck = (z < -50) & ((x / rng.uniform(50, 68)) ** 2 + ((y + 22) / rng.uniform(58, 74)) ** 2 < 1)
    patches = np.floor(np.clip(_noise(rng, rng.uniform(5, 12)) + 2, 0, N_FLESH - 0.01))
    flesh = (Label.FLESH + patches).astype(np.uint8)
    labels = np.where(face | neck, flesh, np.uint8(Label.AIR))
    uneven = np.exp(rng.uniform(0.1, 0.5) * _noise(rng, 22.0))
    # Fat and skin lie on the bone, bone on dura, dura on the fluid; each reaches so far outside.
    fluid = rng.uniform(0.2, 4.0) * np.exp(0.5 * _noise(rng, 25.0))
    dura = fluid + rng.uniform(0.5, 2.5)
    skull = rng.uniform(4.0, 10.0) * uneven
    table = rng.uniform(0.2, 0.45)
    scalp = rng.uniform(2.5, 9.0) / uneven
    layers = (
        (Label.SKIN, dura + skull + scalp + rng.uniform(1.0, 3.0)),
        (Label.FAT, dura + skull + scalp),
        (Label.BONE, dura + skull),
        (Label.MARROW, dura + skull * (1 - 0.8 * table)),
        (Label.BONE, dura + skull * table),
        (Label.DURA, dura),
        (Label.FLUID, fluid),
    )
    below = (z < rng.uniform(-68, -52)) & (face | neck)  # there flesh takes the place of scalp
    for label, reach in layers:
        here = place.outside_mm <= reach
        labels[here & ~below if label in (Label.SKIN, Label.FAT) else here] = label
    _spine_and_eyes(rng, labels, place)
    air = np.zeros(labels.shape, bool)
    for centre, radii in AIR_SPACES:
        size = rng.uniform(0.5, 1.15)
        air |= ellipsoid_radius(place.q, centre, radii) < size
    labels[air & (place.outside_mm > dura + 0.5)] = Label.CAVITY
    return labels


def _spine_and_eyes(rng: np.random.Generator, labels: NDArray[np.uint8], place: _Place) -> None:
    z, y, x = place.q
    free = place.outside_mm > 3
    along = np.hypot(x, y + 38 + 0.15 * (z + 65))
    for label, radius in ((Label.BONE, 14.0), (Label.FLUID, 9.0), (Label.CORD, 5.5)):
        labels[(along < radius) & (z < -66) & free] = label
    eyes = ((rng.uniform(-38, -30), rng.uniform(54, 64), rng.uniform(29, 35)), (12.0, 12.5, 12.0))
    labels[(ellipsoid_radius(place.q, *eyes) < 1) & free] = Label.EYE


def _brain(
    rng: np.random.Generator, labels: NDArray[np.uint8], place: _Place,
    grey: FloatArray, white: FloatArray,
) -> None:  # fmt: skip
    """Write the tissues of the brain into the hull. The rest of it stays fluid."""
    z, y, x = place.q
    depth = -place.outside_mm
    fluid = np.clip(1 - grey - white, 0, 1)
    cerebellum = (y < -36) & (z < -6 + 0.33 * (y + 42))
    stem = (np.abs(x) < 18) & (y > -44) & (y < -8) & (z < -14)
    nucleus, share = nuclei_of(place.q, grey, fluid)
    near_ventricle = np.zeros(labels.shape, bool)
    for centre, radii in VENTRICLES:
        near_ventricle |= ellipsoid_radius(place.q, centre, radii) < 1
    sulcus = _sulci(rng, depth) & (grey + fluid > 0.25) & ~near_ventricle & (nucleus == 0)
    sulcus[cerebellum | stem] &= rng.random() < 0.3
    thirst = rng.uniform(0.6, 1.6)
    wet = (thirst * fluid > np.maximum(grey, white)) | sulcus
    tissue = np.where(grey + 0.25 * _noise(rng, 2.5) > white, Label.GREY, Label.WHITE)
    tissue[cerebellum & (rng.uniform(0, 1.2) * white < grey)] = Label.CEREBELLUM
    tissue[stem] = Label.STEM
    deep = share > 0.5
    tissue[deep] = np.where(nucleus[deep] <= 3, Label.NUCLEI, Label.IRON)
    hull = depth > 0
    labels[hull & ~wet] = tissue[hull & ~wet]
    labels[hull & wet] = Label.FLUID
    labels[hull & wet & near_ventricle & (depth > 12)] = Label.VENTRICLE


def _sulci(rng: np.random.Generator, depth: FloatArray) -> Bools:
    """Draw fluid between folds: narrow everywhere, and wide or with a shrunken surface in some."""
    narrow_mm = rng.uniform(0.3, 1.0)
    sulci = (_sheets(rng, 2.7) < narrow_mm) & (depth < 28)
    if rng.random() < 0.6:
        widest_mm, deepest_mm = rng.uniform(1.0, 5.0), rng.uniform(8, 24)
        width = widest_mm * (1 - depth / deepest_mm) * np.exp(0.4 * _noise(rng, 15.0))
        sulci |= _sheets(rng, rng.uniform(4.5, 9.0)) < width
    if rng.random() < 0.5:
        sulci |= depth < rng.uniform(0.5, 4.0) * np.exp(0.6 * _noise(rng, 20.0))
    return sulci


def _sinuses(rng: np.random.Generator, labels: NDArray[np.uint8], place: _Place) -> None:
    """Draw falx, tentorium, the sinuses along their course, and veins in the surface's fluid."""
    z, y, x = place.q
    out = place.outside_mm
    inner = labels < Label.BONE
    veins = (np.abs(_noise(rng, 3.0)) < rng.uniform(0.0, 0.2)) & (out > -6) & (out < 3)
    labels[veins & (labels == Label.FLUID)] = Label.VEIN
    thick = rng.uniform(0.4, 1.3)
    falx = (np.abs(x) < thick) & (z > 8 + 0.3 * y) & (out > -rng.uniform(15, 45))
    slope = z - (-6 + 0.33 * (y + 42))
    tentorium = (np.abs(slope) < thick) & (y < -36) & (out > -rng.uniform(10, 40))
    labels[(falx | tentorium) & inner & (out < 1)] = Label.DURA

    arc = ((z > 0) | ((y < -60) & (z > -16))) & (y < 62)
    width = rng.uniform(2.5, 8.0) * np.clip(0.75 - y / 220, 0.4, 1.2)
    low, high = -rng.uniform(1, 5), rng.uniform(3, 7)
    shape = rng.choice([0.0, 1.0])  # flat, or a triangle that points inward
    taper = 1 - shape * np.clip((high - out) / (high - low), 0, 1)
    sinus = arc & (out > low) & (out < high) & (np.abs(x - rng.normal(0, 1.5)) < width * taper)
    for side in (-1, 1):
        radius = rng.uniform(0.5, 7.0)
        line = -14 - 0.16 * np.abs(x)
        across = (x * side > 0) & (np.abs(x) < 54) & (y < -48)
        sinus |= across & (np.abs(z - line) < radius) & (out > -3) & (out < 5)
        down = (np.abs(x * side - 46) < 1.4 * radius) & (z < -20) & (z > -48) & (y < -34)
        sinus |= down & (y > -62) & (out > -2) & (out < 6)
    torcular = ellipsoid_radius(place.q, (-14, -98, 0), (9, 9, 9)) < rng.uniform(0.4, 1.1)
    sinus |= torcular & (out > -3)
    t = np.clip((-40 - y) / 56, 0, 1)
    straight = np.hypot(x, z - (8 - 20 * t)) < rng.uniform(0.5, 3.5)
    sinus |= straight & (y < -40) & (y > -96)
    labels[sinus & (out < high) & (labels != Label.CAVITY)] = Label.SINUS


def _mask(labels: NDArray[np.uint8]) -> Bools:
    """Return parenchyma and ventricles. Fluid in folds too narrow for the grid is brain."""
    brain = np.isin(labels, BRAIN)
    around = ndimage.generate_binary_structure(3, 2)
    closed = ndimage.binary_closing(brain, around) & (labels != Label.SINUS)
    pieces, count = ndimage.label(closed)
    if count > 1:
        closed = pieces == int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    filled: Bools = ndimage.binary_fill_holes(closed)
    return filled
