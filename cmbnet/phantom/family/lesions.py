"""Microbleeds of the wide family: many sizes, depths, shapes and structures, in many places.

What is drawn follows measured ones (docs/phantom.md, "The wide family"): most are faint, small and
not quite round.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cmbnet.phantom.family.head import FamilyHead
from cmbnet.phantom.grid import weighted_points
from cmbnet.phantom.lesions import Microbleed, Suitable, expected_diameter_mm
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.regions import Region
from cmbnet.phantom.scan import ScanPlan
from cmbnet.phantom.spheres import Sphere

MOST_LESIONS = 83

DIAMETER_MM, SIGMA_LOG_DIAMETER = 1.95, 0.42
"""Diameter of the ball of the volume of a deposit, log-normal, for slices of 2 mm."""
DIAMETER_RANGE_MM = (0.7, 8.5)
CHI_PPM, SIGMA_LOG_CHI = 0.13, 0.8
CHI_RANGE_PPM = (0.04, 3.0)
THICK_POWER, MAGNITUDE_GAIN = 0.3, 2.5
"""Most small ones vanish in thick slices and without a phase mask. There larger and denser ones are
drawn, as those are that readers of such scans mark."""

LEAST_SEEN, REDRAWN = {"swi": 5.0, "magnitude": 10.0}, 3
"""Phase times volume, rad mm3, below which none was ever seen: most of those are drawn again, since
they only cost time."""

LEAST_HOLLOW_MM, HOLLOW_PROBABILITY = 2.3, 0.35
"""From which size on a lesion may have a bright core or bright grains, and how often."""
HALO_PROBABILITY = 0.12

LOBAR = (Region.FRONTAL, Region.PARIETAL, Region.TEMPORAL, Region.OCCIPITAL)
BASAL = (Region.PUTAMEN, Region.PALLIDUS, Region.CAUDATE, Region.CAPSULE)
PATIENTS: tuple[tuple[float, dict[tuple[Region, ...], float]], ...] = (
    (0.35, {LOBAR: 92, (Region.CEREBELLUM,): 8}),
    (0.25, {LOBAR: 38, BASAL: 24, (Region.THALAMUS,): 15, (Region.BRAINSTEM,): 11,
            (Region.CEREBELLUM,): 12}),
    (0.40, {LOBAR: 75, BASAL: 7, (Region.THALAMUS,): 5, (Region.BRAINSTEM,): 4,
            (Region.CEREBELLUM,): 9}),
)  # fmt: skip
"""Share of patients, and weight of places in them: amyloid, hypertensive, mixed. In all about
73 % lobar, 8 % basal ganglia, 5 % thalamus, 4 % brainstem, 8 % cerebellum."""

ON_VESSEL, TOUCHING, AT_SURFACE = 0.08, 0.08, 0.15
"""Share of lesions beside a vein, beside another lesion, and anywhere in the cortex."""


def draw_family_count(rng: np.random.Generator) -> int:
    """Draw the number of microbleeds: median 2, 90th percentile 9, at most 83."""
    return int(np.clip(np.ceil(np.exp(rng.normal(0.4, 1.35))), 1, MOST_LESIONS))


def draw_family_lesions(
    rng: np.random.Generator,
    head: FamilyHead,
    scan: ScanPlan,
    suitable: Suitable,
    taken: list[tuple[NDArray[np.float64], float]],
    count: int | None,
) -> list[Microbleed]:
    """Draw the microbleeds of a case.

    `suitable` says of positions (m, 3) whether a reader could see a lesion there. `taken` holds
    centres and distances in mm to keep from them. Return at most `count` lesions; one that finds no
    place in 40 attempts is left out.
    """
    if count is None:
        count = max(1, round(draw_family_count(rng) * scan.protocol.head_scale**3))
    patient = PATIENTS[int(rng.choice(len(PATIENTS), p=[share for share, _ in PATIENTS]))][1]
    groups = list(patient)
    weights = np.array(list(patient.values()))
    drawn = rng.choice(len(groups), size=count, p=weights / weights.sum())
    pools = {
        int(n): iter(_places(rng, head, groups[n], 40 * int(np.sum(drawn == n)), suitable))
        for n in np.unique(drawn)
    }
    veins = iter(_beside_veins(rng, head, 40 * count, suitable))
    near = list(taken)
    lesions: list[Microbleed] = []
    for number in drawn.tolist():
        diameter, chi = draw_deposit(rng, scan.protocol, first=not lesions)
        room = expected_diameter_mm(np.pi / 6 * diameter**3 * chi) / 2
        pool: Iterator[NDArray[np.float64]] = pools[number]
        kind = rng.random()
        if kind < ON_VESSEL:
            pool = veins
        elif kind < ON_VESSEL + TOUCHING and lesions:
            pool = iter(_beside(rng, lesions[-1], room, suitable))
        keep = 0.0 if kind < ON_VESSEL + TOUCHING else room + 1.5
        for centre in pool:
            if all(np.linalg.norm(centre - at) > keep + far for at, far in near):
                near.append((centre, 0.0 if keep == 0 else room))
                region = Region(int(_region_at(head, centre[None])[0]))
                lesions.append(
                    draw_family_microbleed(rng, region, centre, (diameter, chi), scan.protocol)
                )
                break
    return lesions


def draw_deposit(
    rng: np.random.Generator, protocol: Protocol, *, first: bool = False
) -> tuple[float, float]:
    """Draw diameter in mm and susceptibility in ppm. The first of a patient can be seen."""
    typical = DIAMETER_MM * max(protocol.slice_mm / 2, 1) ** THICK_POWER
    dense = CHI_PPM * (MAGNITUDE_GAIN if protocol.output == "magnitude" else 1.0)
    for _ in range(REDRAWN):
        diameter = typical * np.exp(SIGMA_LOG_DIAMETER * rng.standard_normal())
        chi = dense * np.exp(SIGMA_LOG_CHI * rng.standard_normal())
        turns = protocol.radians_per_ppm * chi * np.pi / 6 * diameter**3
        if turns >= LEAST_SEEN[protocol.output]:
            break
    if first:
        diameter, chi = max(diameter, 1.3 * typical), max(chi, 2 * dense)
    return float(np.clip(diameter, *DIAMETER_RANGE_MM)), float(np.clip(chi, *CHI_RANGE_PPM))


def draw_family_microbleed(
    rng: np.random.Generator,
    region: Region,
    centre_mm: NDArray[np.float64],
    deposit: tuple[float, float],
    protocol: Protocol,
) -> Microbleed:
    """Draw a deposit as overlapping balls in an ellipsoid. A larger one may have structure.

    `deposit` is the diameter of the ball of its volume, and susceptibility.
    """
    diameter, chi = deposit
    volume = np.pi / 6 * diameter**3
    # Iron decays what is inside as it is dense: a faint deposit leaves most of the signal.
    left = float(rng.uniform(0.85, 1.0) * np.exp(-protocol.te_ms * 1e-3 * 90 * chi))
    if diameter > LEAST_HOLLOW_MM and rng.random() < HOLLOW_PROBABILITY:
        hollow = _hollow(rng, centre_mm, diameter, chi, left)
        moment = sum(sphere.moment_ppm_mm3 for sphere in hollow)
        return Microbleed(region, centre_mm, chi, moment, hollow)
    count = int(rng.integers(1, 5)) if diameter < 2 else int(rng.integers(2, 7))
    radius = (3 * volume / (4 * np.pi * count)) ** (1 / 3) * rng.uniform(0.85, 1.15, count)
    middle = rng.uniform(0.5, 0.95)
    axes = np.array([1.0, middle, middle * rng.uniform(0.5, 1.0)])
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    offset = rng.standard_normal((count, 3)) * axes
    offset *= rng.uniform(0.2, 0.5) * diameter / (np.abs(offset).max() + 1e-9) * (count > 1)
    offset = (offset - offset.mean(axis=0)) @ turn.T
    overlap = max(1.0, count * float(np.mean(radius**3)) * 8 / diameter**3 / 1.5)
    spheres = [
        Sphere(centre_mm + shift, float(r), chi, left ** (1 / overlap))
        for shift, r in zip(offset, radius, strict=True)
    ]
    if rng.random() < HALO_PROBABILITY:
        wide = float(diameter * rng.uniform(0.7, 1.1))
        spheres.append(Sphere(centre_mm, wide, 0.0, float(rng.uniform(0.7, 1.2))))
    moment = sum(sphere.moment_ppm_mm3 for sphere in spheres)
    return Microbleed(region, centre_mm, chi, moment, tuple(spheres))


def _hollow(
    rng: np.random.Generator, centre_mm: NDArray[np.float64], diameter: float, chi: float,
    left: float,
) -> tuple[Sphere, ...]:  # fmt: skip
    """A ball whose core, or a few grains in it, hold no iron: a ring, or speckles."""
    back = 1 / max(left, 0.1)
    outer = Sphere(centre_mm, diameter / 2, chi, left)
    if rng.random() < 0.55:
        core = float(diameter * rng.uniform(0.2, 0.4))
        shift = rng.normal(0, 0.04 * diameter, 3)
        bright = float(back * rng.uniform(0.6, 1.5))
        return outer, Sphere(centre_mm + shift, core, -chi, bright)
    places = rng.normal(0, 0.18 * diameter, (int(rng.integers(2, 7)), 3))
    return outer, *(
        Sphere(centre_mm + at, float(diameter * rng.uniform(0.08, 0.16)), -chi, back)
        for at in places
    )


def _region_at(head: FamilyHead, points_mm: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Region of each position (n, 3); what lies outside the maps belongs to their edge."""
    grid = head.anatomy.grid
    index = np.clip(grid.nearest(points_mm), 0, np.array(grid.shape) - 1)
    regions: NDArray[np.uint8] = head.anatomy.region[tuple(index.T)]
    return regions


def _places(
    rng: np.random.Generator, head: FamilyHead, regions: tuple[Region, ...], count: int,
    suitable: Suitable,
) -> NDArray[np.float64]:  # fmt: skip
    """Positions (m, 3) in regions; lobar ones at the cortical border and in white matter."""
    maps = head.anatomy
    where = np.flatnonzero(np.isin(maps.region, regions) & maps.brain)
    if not len(where):
        return np.zeros((0, 3))
    grey, white, fluid = (
        part.ravel()[where].astype(np.float32) / 255 for part in (maps.grey, maps.white, maps.csf)
    )
    at_surface = rng.random() < AT_SURFACE
    if Region.CEREBELLUM in regions or Region.FRONTAL in regions:
        weight = 0.08 * grey + 0.55 * white + 4 * grey * white
        weight = np.where(fluid < (0.7 if at_surface else 0.25), weight + at_surface * grey, 0)
    else:
        weight = (fluid < 0.25).astype(np.float32)
    points = weighted_points(rng, maps.grid, where, weight, count)
    return points[suitable(points)]


def _beside_veins(
    rng: np.random.Generator, head: FamilyHead, count: int, suitable: Suitable
) -> NDArray[np.float64]:
    """Positions within 2 mm of a vein, inside brain."""
    veins = head.anatomy.veins.points_mm
    if not len(veins):
        return np.zeros((0, 3))
    points = veins[rng.integers(0, len(veins), 4 * count)] + rng.normal(0, 0.8, (4 * count, 3))
    near: NDArray[np.float64] = points[_region_at(head, points) > 0][:count]
    return near[suitable(near)]


def _beside(
    rng: np.random.Generator, other: Microbleed, room_mm: float, suitable: Suitable
) -> NDArray[np.float64]:
    """Positions that touch another lesion."""
    away = rng.standard_normal((40, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    apart = expected_diameter_mm(other.moment_ppm_mm3) / 2 + room_mm
    points: NDArray[np.float64] = other.centre_mm + away * apart * rng.uniform(0.8, 1.4, (40, 1))
    return points[suitable(points)]
