"""Maps of one head: tissues, nuclei, regions, shells and air, on its own 1 mm grid."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.grid import FloatArray, Grid, resample
from cmbnet.phantom.individual import Deformation, draw_deformation
from cmbnet.phantom.regions import (
    AIR_SPACES,
    Coordinates,
    ellipsoid_radius,
    neck_and_face,
    nuclei_of,
    region_of,
)
from cmbnet.phantom.template import AnatomyKind, load_template
from cmbnet.phantom.veins import VeinPoints, grow_veins

Bytes = NDArray[np.uint8]
AIR_PPM, BONE_PPM = 9.2, -2.1


@dataclass(frozen=True, slots=True, eq=False)  # identity, so that it can be a cache key
class Anatomy:
    """A head before it is scanned. Shares are 0 to 255 and sum to 255 inside the brain."""

    kind: AnatomyKind  # What it was made from
    seed: int  # Seed it was drawn with
    grid: Grid  # Grid of the maps, in the head's own mm (z up, y forward, x right)
    grey: Bytes  # Share of grey matter, nuclei excluded
    white: Bytes  # Share of white matter
    csf: Bytes  # Share of CSF
    nucleus: Bytes  # Label of the nucleus (`NUCLEI`), 0 for none
    nucleus_share: Bytes  # Share of the nucleus
    brain: NDArray[np.bool_]  # Where there is brain, CSF included
    region: Bytes  # `Region` of every voxel
    scalp: Bytes  # Share of scalp, muscle and fat
    shell: Bytes  # Share of fluid between brain and bone
    chi_ppm: FloatArray  # Susceptibility of air and bone relative to tissue, on `chi_grid`
    chi_grid: Grid  # A coarser grid
    veins: VeinPoints  # Points of the veins
    deformation: Deformation  # Map to MNI space


def head_grid(scale: float) -> Grid:
    """Return a 1 mm grid that holds any head of a scale with its shells."""
    low, high = (-92, -126, -90), (102, 100, 90)
    shape = tuple(round((b - a) * scale) + 1 for a, b in zip(low, high, strict=True))
    origin = tuple(a * scale for a in low)
    return Grid(shape, origin, (1.0, 1.0, 1.0))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=2)
def make_anatomy(kind: AnatomyKind, seed: int, scale: float = 1.0) -> Anatomy:
    """Draw a head. The last two stay in memory, so scanning one head again is quick.

    ``"mni"`` needs nilearn. The same seed gives the same head. An adult has the scale 1.
    """
    anatomy, grey, white, csf = draw_maps(kind, seed, scale)
    veins = grow_veins(
        np.random.default_rng([seed, 2]), grid=anatomy.grid, grey=grey, white=white, csf=csf,
        brain=anatomy.brain, deformation=anatomy.deformation,
    )  # fmt: skip
    return replace(anatomy, veins=veins)


@dataclass(frozen=True, slots=True)
class Folds:
    """Cortex of a person."""

    ribbon_mm: float = 2.9  # Its thickness
    sulcus_mm: float = 0.75  # Width of a sulcus
    fluid: float = 5.0  # How likely there is fluid in one where the template is undecided


def draw_maps(
    kind: AnatomyKind, seed: int, scale: float, folds: Folds = Folds()
) -> tuple[Anatomy, FloatArray, FloatArray, FloatArray]:
    """Draw a head without veins, and its shares of grey matter, white matter and CSF, 0 to 1."""
    rng = np.random.default_rng([seed, 1])
    grid = head_grid(scale)
    deformation = _deformation(rng, grid, scale)
    q = deformation.on(grid)
    grey, white, csf, brain = _tissues(kind, q, grid, rng, scale, folds)
    nucleus, share = nuclei_of(q, grey, csf)
    share *= brain
    for part in (grey, white, csf):
        part *= 1 - share
    region = region_of(q, nucleus, brain)
    scalp, shell, chi, chi_grid = _head(q, brain, grid, scale)
    none = VeinPoints(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    anatomy = Anatomy(
        kind, seed, grid, as_byte(grey), as_byte(white), as_byte(csf), nucleus, as_byte(share),
        brain, region, scalp, shell, chi, chi_grid, none, deformation,
    )  # fmt: skip
    return anatomy, grey, white, csf


def deformation_of(seed: int, scale: float = 1.0) -> Deformation:
    """How a head is deformed, without its maps, which take seconds."""
    return _deformation(np.random.default_rng([seed, 1]), head_grid(scale), scale)


def _deformation(rng: np.random.Generator, grid: Grid, scale: float) -> Deformation:
    return draw_deformation(rng, grid, scale=scale, ventricles=float(rng.beta(2, 2.2)))


def as_byte(share: FloatArray) -> Bytes:
    """Turn a share of 0 to 1 into 0 to 255."""
    return np.rint(share * 255).astype(np.uint8)


def _tissues(
    kind: AnatomyKind, q: Coordinates, grid: Grid, rng: np.random.Generator, scale: float,
    folds: Folds,
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:  # fmt: skip
    """Shares of grey matter, white matter and CSF, and the brain."""
    grey, white, brain = load_template(kind).at(q)
    csf = np.clip(1 - grey - white, 0, 1)
    likelihood = _folds(rng, grid, scale, q, folds)
    for part, factor in zip((grey, white, csf), likelihood, strict=True):
        np.square(part, out=part)
        part *= factor
    total = grey + white + csf + np.float32(1e-9)
    for part in (grey, white, csf):
        part /= total
        part *= brain
    return grey, white, csf, brain


def _folds(
    rng: np.random.Generator, grid: Grid, scale: float, q: Coordinates, folds: Folds
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How likely each tissue is, given the distance to the nearest sulcus of this person.

    The template is an average: its cortex is a smooth ribbon where a person has folds. Sulci are
    taken to be the zero surfaces of smoothed noise; they decide only where the template is
    undecided, because deep white matter is certain of itself.
    """
    coarse = grid.coarser(2 if scale > 0.75 else 1)
    depth = np.zeros(coarse.shape, np.float32)
    shape_share = ((2.7, 1.0), (1.25, 0.0))
    cerebellum = resample(
        ((q[1] < -36) & (q[0] < -6 + 0.33 * (q[1] + 42))).astype(np.float32), grid, coarse
    )
    for (sigma_mm, _), share in zip(shape_share, (1 - cerebellum, cerebellum), strict=True):
        noise = ndimage.gaussian_filter(
            rng.standard_normal(coarse.shape, np.float32),
            max(sigma_mm * max(scale, 0.7) / coarse.spacing_mm[0], 0.8), mode="wrap", truncate=3,
        )  # fmt: skip
        slope = np.sqrt(sum(part**2 for part in np.gradient(noise, *coarse.spacing_mm)))
        depth += share * np.clip(noise / (slope + 0.15 * slope.mean()), -6, 6)
    distance = np.abs(resample(depth, coarse, grid))
    sheet = np.exp(-0.5 * (distance / folds.sulcus_mm) ** 2)
    ribbon = 1 / (1 + np.exp((distance - folds.ribbon_mm) / 0.3))
    grey, white, csf = (
        part.astype(np.float32)
        for part in (ribbon * (1 - 0.85 * sheet), 1 - ribbon, folds.fluid * sheet)
    )
    return grey + np.float32(0.03), white + np.float32(0.03), csf + np.float32(0.03)


def _head(
    q: Coordinates, brain: NDArray[np.bool_], grid: Grid, scale: float
) -> tuple[Bytes, Bytes, FloatArray, Grid]:
    """Scalp, fluid shell, and the susceptibility of air and bone."""
    coarse = grid.coarser(2)
    inside = resample(brain.astype(np.float32), grid, coarse, outside=0.0) > 0.5
    outside_mm = ndimage.distance_transform_edt(~inside, sampling=coarse.spacing_mm)
    outside_mm = (outside_mm / scale - 1.0).astype(np.float32)
    qc = (resample(q[0], grid, coarse), resample(q[1], grid, coarse), resample(q[2], grid, coarse))
    neck, face = neck_and_face(qc)
    air = np.zeros(coarse.shape, bool)
    for centre, radii in AIR_SPACES:
        air |= (ellipsoid_radius(qc, centre, radii) < 1) & (outside_mm > 1)
    soft = ((neck | face) & (outside_mm > 2.5)) | (outside_mm <= 13.5)
    chi = np.where(soft, -AIR_PPM, 0).astype(np.float32)
    bone = (outside_mm > 2.5) & (outside_mm <= 8) & ~(neck & (qc[0] < -60))
    chi[bone] += BONE_PPM
    chi[air] = 0.0
    fine = resample(outside_mm, coarse, grid)
    flesh = resample(((neck | face) & (outside_mm > 8) & ~air).astype(np.float32), coarse, grid)
    holes = resample(air.astype(np.float32), coarse, grid)
    ring = np.clip((fine - 7.5), 0, 1) * np.clip((14 - fine), 0, 1)
    scalp = np.maximum(ring, 0.55 * flesh) * (1 - holes)
    shell = np.clip(2.2 - fine, 0, 1) * ~brain
    return as_byte(scalp), as_byte(shell.astype(np.float32)), chi, coarse
