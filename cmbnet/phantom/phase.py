"""The phase that a scanner sends beside its images, and calcifications that it tells apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import UsageError
from cmbnet.phantom.anatomy import Anatomy
from cmbnet.phantom.grid import Grid
from cmbnet.phantom.mimics import CALCIFIED, Mimic, calcification, somewhere
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.regions import Region
from cmbnet.phantom.scan import ComplexArray
from cmbnet.phantom.swi import high_passed_phase

DIAMETERS_MM = (1.0, 8.0)
"""Smallest and largest calcification; small ones are as common as in a uniform logarithm."""

USUAL_SHARE, VEIN_SHARE = 0.35, 0.15
"""Shares of calcifications at their usual places and beside a vein; the others lie in a lobe."""

FRINGE_PROBABILITY = 0.3
"""How often the combination of coils leaves a fringe line with open ends."""


@dataclass(frozen=True, slots=True)
class PhaseStyle:
    """How a scanner writes phase."""

    sign: int  # 1 where blood along the field has positive phase, else -1
    high_passed: bool  # Whether the scanner removes the background
    turn: float  # Stored units of 2 pi
    offset: float = 0.0  # Stored value of phase 0
    step: int = 1  # Stored values are multiples of this
    alternating: bool = False  # Whether every second slice is turned by pi


PHASE_STYLES = {
    "siemens": PhaseStyle(-1, True, 8192.0, step=2),
    "ge": PhaseStyle(1, False, 2000 * np.pi, alternating=True),
    "philips": PhaseStyle(1, False, 2000 * np.pi),
    "canon": PhaseStyle(-1, True, 4096.0, offset=2048.0),
}
"""By vendor: -4096 to 4094 in steps of 2; thousandths of a radian; 12 bits without a scale."""


@dataclass(frozen=True, slots=True)
class CalcificationTruth:
    """A row of the table of calcifications."""

    diameter_mm: float  # Of the ball of its volume
    chi_ppm: float  # Mean susceptibility, negative
    z: float  # Voxel index of its centre in the stored image
    y: float  # The same along rows
    x: float  # The same along columns


class PhaseRecorder:
    """Takes the phase of slices as they are acquired, and stores it as a scanner would.

    `rng` draws the phase of coils. `cutoff_per_mm` is the high-pass of the scanner.

    Raises:
        UsageError: If there is no such style.
    """

    def __init__(
        self, rng: np.random.Generator, style: str, grid: Grid, cutoff_per_mm: float
    ) -> None:
        if style not in PHASE_STYLES:
            raise UsageError(
                f"a style of phase is required ({', '.join(PHASE_STYLES)}), got {style!r}"
            )
        self._style, self._grid, self._cutoff = PHASE_STYLES[style], grid, cutoff_per_mm
        self._coil, self.fringe = _coil_phase(rng, grid)
        self.stored = np.zeros(grid.shape, np.int16)

    def take(self, z: int, image: ComplexArray) -> None:
        """Store the phase of a slice, (1, y, x) complex64."""
        style = self._style
        image = image * np.exp(1j * self._coil(z))
        if style.high_passed:
            phase = high_passed_phase(image.astype(np.complex64), self._grid, self._cutoff)
        else:
            phase = np.angle(image)
        phase = style.sign * phase
        if style.alternating and z % 2:
            phase = (phase + 2 * np.pi) % (2 * np.pi) - np.pi
        half = style.turn / 2
        steps = np.rint(phase / np.pi * half / style.step) * style.step
        self.stored[z] = np.clip(steps, -half, half - style.step)[0] + style.offset


def _coil_phase(
    rng: np.random.Generator, grid: Grid
) -> tuple[Callable[[int], NDArray[np.float64]], bool]:
    """Smooth phase of the coils, sometimes with a fringe line, and whether there is one."""
    y, x = np.linspace(-1, 1, grid.shape[1])[:, None], np.linspace(-1, 1, grid.shape[2])
    weights = rng.normal(0, 1.5, 7)
    fringe = bool(rng.random() < FRINGE_PROBABILITY)
    ends, middle = rng.uniform(-0.5, 0.5, (2, 2)), rng.uniform(0.2, 0.8) * grid.shape[0]

    def phase(z: int) -> NDArray[np.float64]:
        terms = (1.0, y, x, y * x, y * y, x * x, 2 * z / grid.shape[0] - 1)
        total = sum(weight * term for weight, term in zip(weights, terms, strict=True))
        if fringe and abs(z - middle) < 0.15 * grid.shape[0]:
            (y0, x0), (y1, x1) = ends
            total = total + np.arctan2(y - y0, x - x0) - np.arctan2(y - y1, x - x1)
        return np.asarray(total)

    return phase, fringe


def draw_calcifications(
    rng: np.random.Generator, anatomy: Anatomy, protocol: Protocol, count: int
) -> list[Mimic]:
    """Draw calcifications of `DIAMETERS_MM` that lie apart from one another.

    Fewer than `count` fit into a small head.
    """
    lobes = (anatomy.region > 0) & (anatomy.region <= Region.OCCIPITAL) & (anatomy.csf < 40)
    found: list[Mimic] = []
    for _ in range(8 * count):
        if len(found) == count:
            break
        radius = float(np.exp(rng.uniform(*np.log(DIAMETERS_MM)))) / 2
        kind = rng.random()
        if kind < USUAL_SHARE:
            centre = CALCIFIED[int(rng.integers(len(CALCIFIED)))][1]
            place = np.array([centre[0], centre[1], centre[2] * rng.choice((-1, 1))])
            place = place + rng.normal(0, 3.0, 3)
            at = anatomy.deformation.from_mni(place[None].astype(np.float32))[0].astype(float)
        elif kind < USUAL_SHARE + VEIN_SHARE:
            vein = anatomy.veins.points_mm[int(rng.integers(len(anatomy.veins.points_mm)))]
            away = rng.standard_normal(3)
            at = vein + away / np.linalg.norm(away) * (radius + 1.0)
            if not lobes[_index(anatomy, at)]:
                continue
        else:
            at = somewhere(rng, anatomy, lobes, 1)[0]
        apart = (np.linalg.norm(at - o.centre_mm) > 12 + 2 * (radius + o.reach_mm) for o in found)
        if all(apart):
            found.append(calcification(rng, at, radius, protocol))
    return found


def _index(anatomy: Anatomy, at: NDArray[np.float64]) -> tuple[int, ...]:
    last = np.array(anatomy.grid.shape) - 1
    return tuple(np.clip(np.rint(anatomy.grid.index_of(at[None])[0]).astype(int), 0, last))


def calcification_truth(mimic: Mimic, grid: Grid, flips: tuple[int, ...]) -> CalcificationTruth:
    """The table row of a calcification, with the indices of the stored array."""
    index = grid.index_of(mimic.centre_mm[None].astype(np.float32))[0].astype(float)
    for axis in flips:
        index[axis] = grid.shape[axis] - 1 - index[axis]
    volume = sum(sphere.radius_mm**3 for sphere in mimic.spheres)
    chi = sum(sphere.chi_ppm * sphere.radius_mm**3 for sphere in mimic.spheres) / volume
    z, y, x = index.tolist()
    return CalcificationTruth(2 * volume ** (1 / 3), chi, z, y, x)


__all__ = [
    "PHASE_STYLES",
    "CalcificationTruth",
    "PhaseRecorder",
    "PhaseStyle",
    "calcification_truth",
    "draw_calcifications",
]
