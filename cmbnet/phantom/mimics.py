"""What looks like a microbleed and is none: each kind at its places, as often as it occurs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cmbnet.phantom.anatomy import Anatomy
from cmbnet.phantom.grid import FloatArray, Grid, random_points
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.regions import Region
from cmbnet.phantom.spheres import Sphere
from cmbnet.phantom.tissue import TISSUES, spoiled_echo
from cmbnet.phantom.veins import STEP_MM, VeinPoints, polyline, thicken


class MimicKind(IntEnum):
    """Values of the map of mimics."""

    NONE = 0
    VEIN_END_ON = 1
    CALCIFICATION = 2
    FLOW_VOID = 3
    PERIVASCULAR_SPACE = 4
    IRON = 5
    DROP_OUT = 6
    VEIN = 7
    SINUS = 8
    OTHER_DISEASE = 9


@dataclass(frozen=True, slots=True)
class Mimic:
    """One thing that is no microbleed."""

    kind: MimicKind  # What it is
    centre_mm: NDArray[np.float64]  # (3,) z, y, x in the head
    reach_mm: float  # How far its mark reaches, and how far lesions keep away
    # What it does to the signal; nothing for veins, which are in `veins`
    spheres: tuple[Sphere, ...] = ()
    # (n, 3) points that its mark follows
    path_mm: FloatArray = field(default_factory=lambda: np.zeros((0, 3), np.float32))


def draw_mimics(
    rng: np.random.Generator, anatomy: Anatomy, protocol: Protocol
) -> tuple[list[Mimic], VeinPoints]:
    """Draw the mimics of one case.

    Returns:
        The mimics, and the points of the end-on veins among them.
    """
    ends, points = end_on_veins(rng, anatomy)
    others = [
        *_calcifications(rng, anatomy, protocol),
        *_flow_voids(rng, anatomy),
        *_perivascular_spaces(rng, anatomy, protocol),
    ]
    return ends + others, points


def somewhere(
    rng: np.random.Generator, anatomy: Anatomy, where: NDArray[np.bool_], count: int
) -> NDArray[np.float64]:
    """Draw random points (count, 3) of a mask in mm, or none if the mask is empty."""
    return random_points(rng, anatomy.grid, where, count).astype(float)


def end_on_veins(rng: np.random.Generator, anatomy: Anatomy) -> tuple[list[Mimic], VeinPoints]:
    """Draw veins across the slices: a dot in each slice, a line through several."""
    amount = anatomy.brain.sum() / 1.85e6
    count = int(rng.poisson(max(5 * amount, 1)))
    lobar = (anatomy.region > 0) & (anatomy.region <= Region.OCCIPITAL)
    starts = somewhere(rng, anatomy, lobar & (anatomy.csf < 160), count)
    mimics, parts = [], [VeinPoints(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))]
    for start in starts:
        length = rng.uniform(6, 16)
        along = np.arange(-length / 2, length / 2, STEP_MM)
        lean = np.array([1.0, *rng.normal(0, 0.15, 2)])
        bend = rng.normal(0, 0.010, (1, 2)) * along[:, None] ** 2
        path = start + along[:, None] * lean / np.linalg.norm(lean)
        path[:, 1:] += bend
        radius = np.full(len(path), np.clip(rng.lognormal(np.log(0.33), 0.3), 0.2, 0.65))
        parts.append(thicken(rng, path.astype(np.float32), radius.astype(np.float32), STEP_MM))
        mimics.append(Mimic(MimicKind.VEIN_END_ON, start, 1.2, path_mm=path.astype(np.float32)))
    return mimics, VeinPoints.joined(parts)


CALCIFIED = (
    # chance, MNI centre (z, y, |x|) in mm, both sides, radius in mm
    (0.40, (2, -32, 0), False, (0.8, 2.2)),  # pineal gland
    (0.30, (10, -40, 22), True, (0.7, 1.8)),  # choroid plexus
    (0.12, (0, -4, 19), True, (0.6, 1.6)),  # pallidus
    (0.08, (50, 20, 0), False, (0.6, 2.0)),  # falx
)


def _calcifications(rng: np.random.Generator, anatomy: Anatomy, protocol: Protocol) -> list[Mimic]:
    """Diamagnetic grains where they are common, and rarely one in a lobe."""
    mimics = []
    for chance, centre, both, radii in CALCIFIED:
        if rng.random() > chance:
            continue
        for side in (1, -1) if both else (1,):
            place = np.array([centre[0], centre[1], side * centre[2]]) + rng.normal(0, 1.5, 3)
            head = anatomy.deformation.from_mni(place[None].astype(np.float32))[0]
            mimics.append(calcification(rng, head.astype(float), rng.uniform(*radii), protocol))
    if rng.random() < 0.05:
        lobar = (anatomy.region > 0) & (anatomy.region <= Region.OCCIPITAL)
        for place in somewhere(rng, anatomy, lobar & (anatomy.csf < 40), 1):
            mimics.append(calcification(rng, place, rng.uniform(0.6, 1.3), protocol))
    return mimics


def calcification(
    rng: np.random.Generator, centre: NDArray[np.float64], radius: float, protocol: Protocol
) -> Mimic:
    """Draw diamagnetic grains that lie together."""
    chi = -rng.uniform(1.5, 3.5)
    left = 0.03 * float(np.exp(-protocol.te_ms * 1e-3 * 350))
    count = int(rng.integers(1, 4))
    spheres = tuple(
        Sphere(centre + rng.normal(0, 0.6 * radius, 3), radius / count ** (1 / 3), chi, left)
        for _ in range(count)
    )
    return Mimic(MimicKind.CALCIFICATION, centre, 2.2 * radius + 0.8, spheres)


_ARTERIES = (
    ((-14, 2, 8), (-12, 2, 22), (-8, -2, 34), (-2, -4, 40)),  # middle cerebral
    ((-14, 2, -8), (-12, 2, -22), (-8, -2, -34), (-2, -4, -40)),
    ((-40, -22, 0), (-28, -18, 0), (-18, -16, 0)),  # basilar
    ((-10, 6, 3), (4, 30, 2), (22, 36, 2), (34, 20, 2)),  # anterior cerebral
)


def _flow_voids(rng: np.random.Generator, anatomy: Anatomy) -> list[Mimic]:
    """Arteries: bright by inflow or dark by flow, without susceptibility."""
    inflow = rng.random() < 0.6
    mimics = []
    for corners in _ARTERIES:
        path = polyline(
            anatomy.deformation.from_mni(np.array(corners) + rng.normal(0, 1.2, (len(corners), 3))),
            0.7,
        ).astype(float)
        radius = rng.uniform(0.6, 1.3)
        gain = rng.uniform(1.15, 1.9) if inflow else rng.uniform(0.1, 0.6)
        # Balls overlap along the path; each takes its root, so that their product is the gain.
        part = float(gain ** (0.7 / (2 * radius)))
        spheres = tuple(Sphere(point, radius, 0.0, part) for point in path)
        mimics.append(
            Mimic(MimicKind.FLOW_VOID, path.mean(0), radius + 0.5, spheres,
                  path.astype(np.float32))
        )  # fmt: skip
    return mimics


def _perivascular_spaces(
    rng: np.random.Generator, anatomy: Anatomy, protocol: Protocol
) -> list[Mimic]:
    """Fluid-filled spaces: no susceptibility to speak of, the signal of CSF."""
    deep = np.isin(anatomy.region, (Region.PUTAMEN, Region.CAPSULE))
    places = somewhere(rng, anatomy, deep, int(rng.poisson(3)))
    left = spoiled_echo(TISSUES["csf"], protocol) / spoiled_echo(TISSUES["white"], protocol)
    mimics = []
    for place in places:
        radius = rng.uniform(0.5, 1.3)
        count = int(rng.integers(2, 5))
        lean = np.array([1.0, *rng.normal(0, 0.4, 2)])
        part = float(left ** (1 / 1.7))
        spheres = tuple(
            Sphere(place + step * radius * lean, radius, 0.03, part) for step in range(count)
        )
        middle = place + (count - 1) / 2 * radius * lean
        mimics.append(
            Mimic(MimicKind.PERIVASCULAR_SPACE, middle, radius * count / 2 + 0.5, spheres)
        )
    return mimics


def paint_mimics(mimics: list[Mimic], grid: Grid, marks: NDArray[np.uint16]) -> None:
    """Mark the mimics on an image grid, in place; a ball at each point of a path."""
    for mimic in mimics:
        path = mimic.path_mm if len(mimic.path_mm) else mimic.centre_mm[None]
        if not len(mimic.path_mm) and mimic.spheres:
            path = np.array([sphere.centre_mm for sphere in mimic.spheres])
        reach = mimic.reach_mm if len(path) == 1 else min(mimic.reach_mm, 1.8)
        for point in path[:: 2 if len(path) > 8 else 1]:
            _paint_ball(marks, grid, point, reach, int(mimic.kind))


def taken_by(mimics: list[Mimic]) -> list[tuple[NDArray[np.float64], float]]:
    """Return points of mimics, and the distances in mm that lesions keep from them."""
    return [
        (np.asarray(point, float), mimic.reach_mm)
        for mimic in mimics
        for point in (mimic.path_mm[::6] if len(mimic.path_mm) else mimic.centre_mm[None])
    ]


def _paint_ball(
    marks: NDArray[np.uint16], grid: Grid, centre: NDArray[np.floating], radius: float, value: int
) -> None:
    box = grid.box(centre - radius, centre + radius)
    z, y, x = (
        (axis.ravel()[part] - mm) ** 2
        for axis, part, mm in zip(grid.axes_mm(), box, centre, strict=True)
    )
    # A slice counts if the ball reaches into it, not only if it holds the slice's middle.
    z = np.maximum(np.sqrt(z) - grid.spacing_mm[0] / 2, 0) ** 2
    inside = z[:, None, None] + y[:, None] + x <= radius**2
    marks[box][inside] = value
