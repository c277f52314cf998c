"""What sits in the same heads and is no microbleed, painted on the 1 mm maps of a head.

Old and new bleeds of other kinds (macro-haemorrhage, superficial siderosis, cavernoma, infarct with
a haemorrhagic rim), clips and cavities of surgery are to be ignored; lacunes and hyperintensities
are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.family.head import FamilyHead
from cmbnet.phantom.family.looks import Looks
from cmbnet.phantom.grid import Box, FloatArray, Grid, broadcast, random_points, resample
from cmbnet.phantom.regions import Region

GRAIN_MM = 3.0
"""Size of the bumps of a shape."""


@dataclass(frozen=True, slots=True)
class Disease:
    """One thing of another kind."""

    name: str  # What it is
    box: Box  # Where, on the grid of the head
    share: FloatArray  # (z, y, x) of the box, 0 to 1
    ignored: bool  # Whether no answer is asked for there
    centre_mm: NDArray[np.float64]  # Its centre in the head
    reach_mm: float  # How far microbleeds keep away from it; 0 where they may lie in it

    def on(self, own: Grid, target: Grid) -> tuple[Box, FloatArray]:
        """Return a box of another grid, and the share of the disease in it."""
        corner = np.array([part.start for part in self.box])
        origin = own.points_of(corner[None])[0]
        source = Grid(self.share.shape, tuple(map(float, origin)), own.spacing_mm)  # type: ignore[arg-type]
        end = origin + np.array(self.share.shape) * np.array(own.spacing_mm)
        low = np.clip(np.floor(target.index_of(origin)).astype(int), 0, target.shape)
        high = np.clip(np.ceil(target.index_of(end)).astype(int), low, target.shape)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        first = tuple(map(float, target.points_of(low[None])[0]))
        part = Grid(tuple(int(n) for n in high - low), first, target.spacing_mm)  # type: ignore[arg-type]
        if 0 in part.shape:
            return box, np.zeros(part.shape, np.float32)  # type: ignore[return-value]
        return box, resample(self.share, source, part, outside=0.0)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Canvas:
    """The maps that diseases are painted on."""

    rng: np.random.Generator  # Source of randomness
    head: FamilyHead  # The head
    looks: Looks  # Its contrasts
    signal: FloatArray  # Signal on the grid of the head, changed in place
    chi_ppm: FloatArray  # Susceptibility there, changed in place

    def somewhere(self, where: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """Draw a random point of a mask in mm, or None if the mask is empty."""
        points = random_points(self.rng, self.head.anatomy.grid, where, 1)
        return points[0].astype(float) if len(points) else None

    def blob(
        self, centre_mm: NDArray[np.float64], radius_mm: float, rough: float
    ) -> tuple[Box, FloatArray]:
        """Draw a bumpy ellipsoid: a box, and the distance in mm beyond the surface in it."""
        grid = self.head.anatomy.grid
        reach = radius_mm * 1.6 + 6
        box = grid.box(centre_mm - reach, centre_mm + reach)
        turn, _ = np.linalg.qr(self.rng.standard_normal((3, 3)))
        axes = zip(grid.axes_mm(), box, centre_mm, strict=True)
        offsets = broadcast(*(axis.ravel()[part] - mm for axis, part, mm in axes))
        radii = radius_mm * np.array([1.0, *self.rng.uniform(0.55, 1.0, 2)])
        square = sum(
            (sum(turn[n, a] * offsets[a] for a in range(3)) / radii[n]) ** 2 for n in range(3)
        )
        shape = tuple(part.stop - part.start for part in box)
        bumps = ndimage.gaussian_filter(
            self.rng.standard_normal(shape, np.float32), max(radius_mm / 4, GRAIN_MM / 2)
        )
        bumps *= rough / max(float(bumps.std()), 1e-6)
        distance = (np.sqrt(square) - 1 + bumps) * radius_mm
        return box, distance.astype(np.float32)

    def put(self, box: Box, share: FloatArray, level: float | FloatArray, chi: float) -> None:
        """Mix a signal (where the tissue is `Looks.signal`) and a susceptibility in."""
        self.signal[box] += share * (np.float32(level) - self.signal[box])
        self.chi_ppm[box] += share * (np.float32(chi) - self.chi_ppm[box])


def soft(distance_mm: NDArray[np.floating]) -> FloatArray:
    """Return 1 well inside a surface and 0 well outside, with an edge of one voxel."""
    result: FloatArray = np.clip(0.5 - distance_mm, 0, 1).astype(np.float32)
    return result


def draw_diseases(
    rng: np.random.Generator, head: FamilyHead, looks: Looks, signal: FloatArray,
    chi_ppm: FloatArray,
) -> list[Disease]:  # fmt: skip
    """Draw what else the patient has, and paint it, in place."""
    canvas = Canvas(rng, head, looks, signal, chi_ppm)
    found: list[Disease] = []
    for chance, most, paint in PAINTERS:
        if rng.random() < chance:
            for _ in range(int(rng.integers(1, most + 1))):
                found += [one for one in [paint(canvas)] if one is not None]
    return found


def _tissue(head: FamilyHead, *, white: bool = True) -> NDArray[np.bool_]:
    maps = head.anatomy
    share = maps.white if white else maps.grey
    result: NDArray[np.bool_] = (share > 128) & maps.brain & (maps.region != Region.NONE)
    return result


def _hyperintensities(canvas: Canvas) -> Disease | None:
    """Bright white matter around the ventricles and in patches."""
    head, rng = canvas.head, canvas.rng
    away = ndimage.distance_transform_edt(~head.ventricle[::2, ::2, ::2]) * 2
    reach = rng.uniform(2, 9)
    bumps = ndimage.gaussian_filter(rng.standard_normal(away.shape, np.float32), 2)
    close = soft((away + bumps * (3 / bumps.std()) - reach).astype(np.float32) / 2)
    for axis, n in enumerate(head.ventricle.shape):
        close = np.repeat(close, 2, axis).take(np.arange(n), axis)
    gain = float(rng.uniform(1.04, 1.5))
    weight = close * head.anatomy.white * np.float32(1 / 255)
    canvas.signal[...] *= 1 + weight * np.float32(gain - 1)
    where = _tissue(head)
    for _ in range(int(rng.integers(0, 25))):
        centre = canvas.somewhere(where)
        if centre is not None:
            box, distance = canvas.blob(centre, float(rng.uniform(1.2, 6)), 0.25)
            share = soft(distance / 1.5) * (head.anatomy.white[box] > 60)
            canvas.signal[box] *= 1 + share * np.float32(gain - 1)
    return None


def _lacune(canvas: Canvas) -> Disease | None:
    """A small cavity of fluid, often with a bright rim; dark where fluid is."""
    rng, head = canvas.rng, canvas.head
    deep = (head.anatomy.nucleus_share > 128) & (head.anatomy.nucleus <= 4)
    centre = canvas.somewhere(deep if rng.random() < 0.5 else _tissue(head))
    if centre is None:
        return None
    radius = float(rng.uniform(1.2, 6.0))
    box, distance = canvas.blob(centre, radius, 0.12)
    if rng.random() < 0.6:
        canvas.put(box, 0.8 * soft(distance - rng.uniform(0.7, 2)), rng.uniform(1.1, 1.5), 0.0)
    share = soft(distance)
    canvas.put(box, share, canvas.looks.signal["csf"], 0.02)
    return Disease("lacune", box, share, False, centre, radius + 1)


def _infarct(canvas: Canvas) -> Disease | None:
    """An old infarct; four of ten have a rim or spots of old blood."""
    rng = canvas.rng
    centre = canvas.somewhere(_tissue(canvas.head, white=bool(rng.random() < 0.3)))
    if centre is None:
        return None
    radius = float(rng.uniform(5, 24))
    box, distance = canvas.blob(centre, radius, 0.3)
    inside = (canvas.head.outside_mm[box] < 0).astype(np.float32)
    share = soft(distance) * inside
    fluid = canvas.looks.signal["csf"] if rng.random() < 0.5 else float(rng.uniform(1.05, 1.7))
    canvas.put(box, share, fluid, 0.0)
    bloody = bool(rng.random() < 0.4)
    if bloody:
        noise = ndimage.gaussian_filter(rng.standard_normal(distance.shape, np.float32), 1.6)
        rim = soft(np.abs(distance) - rng.uniform(0.4, 1.5)) * (
            noise > rng.uniform(-1, 0.5) * noise.std()
        )
        canvas.put(box, rim * inside, float(rng.uniform(0.05, 0.5)), float(rng.uniform(0.1, 0.8)))
        share = np.maximum(share, soft(distance - 3))
    return Disease("infarct", box, share, bloody, centre, radius + 3)


def _haemorrhage(canvas: Canvas) -> Disease | None:
    """A macro-haemorrhage of any age: dark, bright or layered, with rim and oedema."""
    rng = canvas.rng
    centre = canvas.somewhere(_tissue(canvas.head))
    if centre is None:
        return None
    radius = float(np.exp(rng.uniform(np.log(5.5), np.log(24))))
    box, distance = canvas.blob(centre, radius, 0.22)
    if rng.random() < 0.6:
        canvas.put(box, 0.8 * soft((distance - rng.uniform(2, 8)) / 2), rng.uniform(1.05, 1.6), 0.0)
    canvas.put(box, soft(distance), rng.uniform(0.02, 0.3), rng.uniform(0.3, 1.2))
    if rng.random() < 0.7:
        core = soft(distance + rng.uniform(1.2, 0.5 * radius))
        noise = ndimage.gaussian_filter(rng.standard_normal(distance.shape, np.float32), 2)
        level = rng.uniform(0.05, 1.8) * (1 + rng.uniform(0, 0.5) * noise / noise.std())
        canvas.put(box, core, np.clip(level, 0, 2.5).astype(np.float32), rng.uniform(0.0, 0.6))
    return Disease("macro-haemorrhage", box, soft(distance - 4), True, centre, radius + 5)


def _cavernoma(canvas: Canvas) -> Disease | None:
    """Popcorn: bright and dark caverns within a dark rim."""
    rng = canvas.rng
    centre = canvas.somewhere(_tissue(canvas.head))
    if centre is None:
        return None
    radius = float(rng.uniform(3.0, 11.0))
    box, distance = canvas.blob(centre, radius, 0.15)
    canvas.put(box, soft(distance), rng.uniform(0.02, 0.25), rng.uniform(0.2, 0.8))
    noise = ndimage.gaussian_filter(rng.standard_normal(distance.shape, np.float32), 1.2)
    cavern = soft(distance + 1.5) * (noise > 0.2 * noise.std())
    canvas.put(box, cavern, rng.uniform(0.6, 2.0), rng.uniform(0.0, 0.3))
    return Disease("cavernoma", box, soft(distance - 3), True, centre, radius + 4)


def _siderosis(canvas: Canvas) -> Disease | None:
    """Iron on the surface of a part of the cortex: a dark line along gyri."""
    rng, maps = canvas.rng, canvas.head.anatomy
    centre = canvas.somewhere(_tissue(canvas.head, white=False))
    if centre is None:
        return None
    radius = float(rng.uniform(10, 30))
    box, distance = canvas.blob(centre, radius, 0.3)
    solid = maps.grey[box].astype(np.int32) + maps.white[box] > 128
    edge = ndimage.binary_dilation(solid) & ~ndimage.binary_erosion(solid, iterations=1)
    share = soft(distance / 2) * edge * (canvas.head.outside_mm[box] < 0)
    share = share.astype(np.float32) * np.float32(rng.uniform(0.4, 1.0))
    canvas.put(box, share, rng.uniform(0.02, 0.4), rng.uniform(0.2, 1.0))
    return Disease(
        "siderosis", box, np.minimum(2 * ndimage.grey_dilation(share, (3, 3, 3)), 1), True,
        centre, 0.0,
    )  # fmt: skip


def _metal(canvas: Canvas) -> Disease | None:
    """A clip or a coil: no signal around it, and a field that bends everything."""
    rng = canvas.rng
    centre = canvas.somewhere(canvas.head.artery > 200)
    if centre is None or rng.random() < 0.4:
        centre = canvas.somewhere(_tissue(canvas.head, white=False))
    if centre is None:
        return None
    radius = float(rng.uniform(3, 13))
    box, distance = canvas.blob(centre, radius, 0.15)
    canvas.put(box, soft(distance / 3), 0.01, 0.0)
    canvas.chi_ppm[box] += soft(distance + 0.75 * radius) * np.float32(rng.uniform(3, 20))
    return Disease("metal", box, soft(distance - 8), True, centre, radius + 8)


def _cavity(canvas: Canvas) -> Disease | None:
    """What surgery leaves: a cavity of fluid that reaches the skull, lined with old blood."""
    rng = canvas.rng
    centre = canvas.somewhere(_tissue(canvas.head, white=False))
    if centre is None:
        return None
    radius = float(rng.uniform(8, 22))
    box, distance = canvas.blob(centre, radius, 0.15)
    inside = (canvas.head.outside_mm[box] < 0).astype(np.float32)
    canvas.put(box, soft(distance) * inside, canvas.looks.signal["csf"], 0.02)
    rim = soft(np.abs(distance) - rng.uniform(0.3, 1.2)) * inside
    canvas.put(box, rim, rng.uniform(0.05, 0.6), rng.uniform(0.1, 0.6))
    return Disease("surgery", box, soft(distance - 3) * inside, True, centre, radius + 4)


PAINTERS: tuple[tuple[float, int, Callable[[Canvas], Disease | None]], ...] = (
    (0.5, 1, _hyperintensities),
    (0.3, 5, _lacune),
    (0.12, 2, _infarct),
    (0.08, 2, _haemorrhage),
    (0.06, 2, _siderosis),
    (0.05, 2, _cavernoma),
    (0.03, 2, _metal),
    (0.03, 1, _cavity),
)
"""Chance, most of them, and how each is painted."""
