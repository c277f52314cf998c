"""What looks like a microbleed in the wide family: calcium, fluid and ends of veins."""

from __future__ import annotations

import numpy as np

from cmbnet.phantom.family.head import FamilyHead
from cmbnet.phantom.mimics import Mimic, MimicKind, calcification, end_on_veins, somewhere
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.regions import Region
from cmbnet.phantom.spheres import Sphere
from cmbnet.phantom.veins import VeinPoints

CALCIUM = (
    # chance, MNI centre (z, y, |x|) in mm, spread in mm, both sides, most grains, radius in mm
    (0.55, (2, -32, 0), (1.5, 1.5, 1.5), False, 4, (0.5, 2.6)),  # pineal gland
    (0.45, (10, -40, 22), (4.0, 4.0, 2.5), True, 4, (0.4, 2.0)),  # choroid plexus
    (0.12, (-1, -4, 19), (3.0, 4.0, 2.5), True, 5, (0.4, 1.6)),  # pallidus
    (0.05, (-34, -56, 15), (3.0, 3.0, 3.0), True, 4, (0.4, 1.6)),  # dentate
    (0.2, (50, 10, 0), (14.0, 30.0, 0.4), False, 4, (0.5, 2.2)),  # falx
    (0.06, (0, -50, 18), (3.0, 4.0, 6.0), True, 2, (0.4, 1.5)),  # tentorium
    (0.06, (-12, 0, 26), (2.0, 2.0, 8.0), True, 3, (0.4, 1.2)),  # walls of arteries
)
LOBAR_PROBABILITY = 0.08
FRAGMENTS_PROBABILITY = 0.3


def draw_family_mimics(
    rng: np.random.Generator, head: FamilyHead, protocol: Protocol, fluid: float
) -> tuple[list[Mimic], VeinPoints]:
    """Draw the mimics of one case.

    `fluid` is the signal of CSF, where white matter has 1. Return also the points of the end-on
    veins among them.
    """
    mimics = _calcium(rng, head, protocol) + _spaces(rng, head, fluid)
    points = VeinPoints(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    if rng.random() < FRAGMENTS_PROBABILITY:
        ends, points = end_on_veins(rng, head.anatomy)
        mimics += ends
    return mimics, points


def _calcium(rng: np.random.Generator, head: FamilyHead, protocol: Protocol) -> list[Mimic]:
    mimics = []
    anatomy = head.anatomy
    for chance, centre, spread, both, most, radii in CALCIUM:
        if rng.random() > chance:
            continue
        for side in (1, -1) if both and rng.random() < 0.8 else (1,):
            for _ in range(int(rng.integers(1, most + 1))):
                place = np.array([centre[0], centre[1], side * centre[2]]) + rng.normal(0, spread)
                at = anatomy.deformation.from_mni(place[None].astype(np.float32))[0].astype(float)
                mimics.append(calcification(rng, at, float(rng.uniform(*radii)), protocol))
    if rng.random() < LOBAR_PROBABILITY:
        lobar = (anatomy.region > 0) & (anatomy.region <= Region.OCCIPITAL) & (anatomy.csf < 40)
        for at in somewhere(rng, anatomy, lobar, int(rng.integers(1, 4))):
            mimics.append(calcification(rng, at, float(rng.uniform(0.5, 2.0)), protocol))
    return mimics


def _spaces(rng: np.random.Generator, head: FamilyHead, fluid: float) -> list[Mimic]:
    """Perivascular spaces in basal ganglia and white matter: short tubes of fluid."""
    anatomy = head.anatomy
    deep = np.isin(anatomy.region, (Region.PUTAMEN, Region.CAPSULE))
    upper = (anatomy.white > 200) & (anatomy.region > 0) & (anatomy.region <= Region.PARIETAL)
    many = rng.gamma(1.0, 6.0)
    mimics = []
    for where, share in ((deep, 0.6), (upper, 0.4)):
        for place in somewhere(rng, anatomy, where, int(rng.poisson(share * many))):
            radius = float(rng.uniform(0.35, 1.2))
            count = int(rng.integers(2, 7))
            lean = rng.normal((1.0, 0, 0), 0.4)
            lean /= np.linalg.norm(lean)
            part = float(np.clip(fluid, 0.15, 2.5) ** (1 / 1.7))
            spheres = tuple(
                Sphere(place + step * radius * lean, radius, 0.03, part) for step in range(count)
            )
            middle = place + (count - 1) / 2 * radius * lean
            reach = radius * count / 2 + 0.5
            mimics.append(Mimic(MimicKind.PERIVASCULAR_SPACE, middle, reach, spheres))
    return mimics
