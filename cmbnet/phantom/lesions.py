"""Microbleeds before they are imaged: how many, how much iron, where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.phantom.anatomy import Anatomy
from cmbnet.phantom.grid import weighted_points
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.regions import Region
from cmbnet.phantom.spheres import Sphere

MEDIAN_MOMENT_PPM_MM3 = 3.6
SIGMA_LOG_MOMENT = 1.4
MOMENT_RANGE_PPM_MM3 = (0.05, 400.0)
CORE_R2S_PER_S = 250.0
MOST_LESIONS = 150

_LOBAR = {Region.FRONTAL: 23.9, Region.PARIETAL: 27.5, Region.TEMPORAL: 13.0,
          Region.OCCIPITAL: 5.6}  # fmt: skip
_DEEP = {Region.THALAMUS: 7.8, Region.PUTAMEN: 1.8, Region.CAPSULE: 1.3, Region.PALLIDUS: 0.4}
_BELOW = {Region.CEREBELLUM: 15.7, Region.BRAINSTEM: 2.9}

PATIENT_TYPES: dict[str, tuple[float, dict[Region, float]]] = {
    "amyloid": (0.35, {**_LOBAR, Region.TEMPORAL: 19.0, Region.OCCIPITAL: 16.0,
                       Region.CEREBELLUM: 4.0}),
    "hypertensive": (0.25, {Region.FRONTAL: 10, Region.PARIETAL: 11, Region.TEMPORAL: 12,
                            Region.OCCIPITAL: 7, Region.THALAMUS: 18, Region.PUTAMEN: 14,
                            Region.CAPSULE: 5, Region.PALLIDUS: 3, Region.CEREBELLUM: 12,
                            Region.BRAINSTEM: 8}),
    "mixed": (0.40, {**_LOBAR, **_DEEP, **_BELOW}),
}  # fmt: skip
"""Share of patients, and weight of each region in them. Mixed: AGES-Reykjavik, 447 lesions."""

Suitable = Callable[[NDArray[np.floating]], NDArray[np.bool_]]
"""Tells of positions (m, 3) in mm whether a reader could see a lesion there."""


@dataclass(frozen=True, slots=True)
class Microbleed:
    """One deposit of iron."""

    region: Region  # Where it lies
    centre_mm: NDArray[np.float64]  # (3,) z, y, x in the head
    chi_ppm: float  # Its susceptibility
    moment_ppm_mm3: float  # Susceptibility times volume: what blooms
    spheres: tuple[Sphere, ...]  # One to three overlapping spheres of that total

    @property
    def physical_diameter_mm(self) -> float:
        """Diameter of the ball of its volume."""
        return float((6 * self.moment_ppm_mm3 / (np.pi * self.chi_ppm)) ** (1 / 3))


def draw_count(rng: np.random.Generator) -> int:
    """Draw the number of microbleeds: min(150, ceil(exp N(0.3, 1.75))), mean 6.3."""
    return int(min(MOST_LESIONS, np.ceil(np.exp(rng.normal(0.3, 1.75)))))


def draw_moments(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Draw log-normal moments in ppm mm3. The first one can be seen."""
    moments = MEDIAN_MOMENT_PPM_MM3 * np.exp(SIGMA_LOG_MOMENT * rng.standard_normal(count))
    if count:
        moments[0] = MEDIAN_MOMENT_PPM_MM3 * np.exp(abs(rng.normal(0, 1.0)) - 0.2)
    return np.clip(moments, *MOMENT_RANGE_PPM_MM3)


def expected_diameter_mm(moment_ppm_mm3: float) -> float:
    """Return about how large a moment looks. It only keeps lesions apart."""
    return float(np.clip(1.2 + 1.8 * (6 * moment_ppm_mm3 / np.pi) ** (1 / 3), 2, 14))


def place_lesions(
    rng: np.random.Generator,
    anatomy: Anatomy,
    protocol: Protocol,
    moments: NDArray[np.float64],
    suitable: Suitable,
    avoid: list[tuple[NDArray[np.float64], float]],
) -> list[Microbleed]:
    """Put lesions where they occur, apart from each other and from what hides them.

    `moments` are ppm mm3, (n,). `suitable` says of positions (m, 3) whether a reader could see a
    lesion there. `avoid` holds centres and distances in mm to keep from them. Return at most n
    lesions; one that finds no place in 40 attempts is left out.
    """
    names = list(PATIENT_TYPES)
    patient = PATIENT_TYPES[
        names[int(rng.choice(len(names), p=[w for w, _ in PATIENT_TYPES.values()]))]
    ]
    regions = list(patient[1])
    weights = np.array(list(patient[1].values()))
    drawn = rng.choice(len(regions), size=len(moments), p=weights / weights.sum())
    pools = {
        regions[n]: iter(
            _candidates(rng, anatomy, regions[n], 40 * int(np.sum(drawn == n)), suitable)
        )
        for n in np.unique(drawn)
    }
    taken = list(avoid)
    lesions = []
    for number, moment in zip(drawn, moments, strict=True):
        region = regions[number]
        room = expected_diameter_mm(moment) / 2 + 1.5
        for centre in pools[region]:
            if all(np.linalg.norm(centre - other) > room + keep for other, keep in taken):
                taken.append((centre, room))
                lesions.append(draw_microbleed(rng, region, centre, float(moment), protocol))
                break
    return lesions


def _candidates(
    rng: np.random.Generator, anatomy: Anatomy, region: Region, count: int, suitable: Suitable
) -> NDArray[np.float64]:
    """Positions (m, 3) of a region, lobar ones mostly at the border of grey and white matter."""
    where = np.flatnonzero(anatomy.region == region)
    solid = anatomy.csf.ravel()[where] < 60
    where = where[solid]
    weight = np.ones(len(where))
    if region <= Region.OCCIPITAL or region == Region.CEREBELLUM:
        grey, white = (part.ravel()[where] / 255.0 for part in (anatomy.grey, anatomy.white))
        weight = 0.25 + 4 * grey * white
    points = weighted_points(rng, anatomy.grid, where, weight, count)
    return points[suitable(points)]


def draw_microbleed(
    rng: np.random.Generator,
    region: Region,
    centre_mm: NDArray[np.float64],
    moment_ppm_mm3: float,
    protocol: Protocol,
) -> Microbleed:
    """Share a moment out to one to three overlapping spheres."""
    chi = float(np.clip(rng.lognormal(0, 0.45), 0.3, 3.0))
    count = int(rng.choice(3, p=(0.5, 0.3, 0.2))) + 1
    shares = rng.dirichlet(np.full(count, 4.0))
    radius = (3 * moment_ppm_mm3 * shares / (4 * np.pi * chi)) ** (1 / 3)
    offset = rng.standard_normal((count, 3))
    offset *= 0.75 * radius.mean() / (np.linalg.norm(offset, axis=1, keepdims=True) + 1e-9)
    offset -= np.average(offset, axis=0, weights=shares)
    left = 0.9 * float(np.exp(-protocol.te_ms * 1e-3 * (CORE_R2S_PER_S - 20)))
    spheres = tuple(
        Sphere(centre_mm + shift, float(r), chi, left)
        for shift, r in zip(offset, radius, strict=True)
    )
    return Microbleed(region, centre_mm, chi, moment_ppm_mm3, spheres)
