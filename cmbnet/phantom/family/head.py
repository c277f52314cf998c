"""Heads of the wide family: brain, fluid, dura, sinuses, arteries, bone, marrow, scalp."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phantom.anatomy import (
    AIR_PPM,
    BONE_PPM,
    Anatomy,
    Bytes,
    Folds,
    as_byte,
    deformation_of,
    draw_maps,
)
from cmbnet.phantom.family.sinuses import STEP_MM, Tube, draw_arteries, draw_sinuses, share_of
from cmbnet.phantom.family.trees import draw_trees
from cmbnet.phantom.grid import FloatArray, Grid, resample
from cmbnet.phantom.individual import Deformation
from cmbnet.phantom.regions import (
    AIR_SPACES,
    Coordinates,
    Region,
    Triple,
    ellipsoid_radius,
    neck_and_face,
)
from cmbnet.phantom.template import AnatomyKind

EYE: tuple[Triple, Triple] = ((-38, 60, 32), (12, 13, 12))
"""Centre and radii (z, y, |x|) in MNI mm."""

MOST_HOLE_MM2 = 200
"""Smaller holes of the brain in a slice are filled."""


@dataclass(frozen=True, slots=True, eq=False)
class FamilyHead:
    """A head of the family."""

    anatomy: Anatomy  # Its maps; `brain` holds parenchyma and ventricles alone
    sinus: Bytes  # Share of dural sinus, 0 to 255
    artery: Bytes  # Share of artery
    layers: dict[str, Bytes]  # Share of dura, bone, marrow, muscle, fat and eye, by name
    # Distance beyond the inner table, negative inside, on the grid of `anatomy`
    outside_mm: FloatArray
    ventricle: NDArray[np.bool_]  # The lateral ventricles


@functools.lru_cache(maxsize=1)
def make_family_head(kind: AnatomyKind, seed: int, scale: float = 1.0) -> FamilyHead:
    """Draw a head of the family. The last one stays in memory.

    ``"mni"`` needs nilearn. The same seed gives the same head. An adult has the scale 1.
    """
    rng = np.random.default_rng([seed, 31])
    scale = _size(rng, scale)
    folds = Folds(
        ribbon_mm=float(rng.uniform(2.2, 3.6)),
        sulcus_mm=float(np.exp(rng.uniform(np.log(0.6), np.log(2.8)))),
        fluid=float(rng.uniform(4, 16)),
    )
    base, grey, white, csf = draw_maps(kind, seed, scale, folds)
    grid, q = base.grid, base.deformation.on(base.grid)
    gap_mm = float(rng.uniform(0.0, 3.5)) * scale
    outside_mm = _distance_outside(base.brain, grid) - gap_mm
    inside = outside_mm < 0
    sinuses = draw_sinuses(rng, base.deformation, outside_mm, grid)
    sinus = share_of(sinuses, grid)
    artery = share_of(draw_arteries(rng, base.deformation), grid) * (1 - sinus)
    layers, chi = _layers(rng, q, outside_mm, base, scale)
    layers["dura"] = _with_dura(rng, layers["dura"], sinus, q, csf, inside, scale)
    veins = draw_trees(
        rng, grid, (grey, white, csf), inside, _roots(rng, sinuses), base.deformation
    )
    left = 1 - np.maximum(sinus, artery)
    shell = np.clip(-outside_mm + 0.5, 0, 1) * ~base.brain * left
    nucleus: FloatArray = base.nucleus_share * np.float32(1 / 255)
    brain, ventricle = _brain(grey + white + nucleus, csf, q, scale)
    brain &= sinus < 0.5
    anatomy = replace(
        base,
        grey=as_byte(grey * left),
        white=as_byte(white * left),
        csf=as_byte(csf * left),
        nucleus_share=as_byte(nucleus * left),
        brain=brain,
        region=np.where(brain, base.region, np.uint8(Region.NONE)),
        scalp=np.zeros((1, 1, 1), np.uint8),
        shell=as_byte(shell.astype(np.float32)),
        chi_ppm=chi,
        veins=veins,
    )
    return FamilyHead(anatomy, as_byte(sinus), as_byte(artery), layers, outside_mm, ventricle)


def family_deformation(seed: int, scale: float = 1.0) -> Deformation:
    """How a head of the family is deformed, without its maps, which take seconds."""
    return deformation_of(seed, _size(np.random.default_rng([seed, 31]), scale))


def _size(rng: np.random.Generator, scale: float) -> float:
    """The template is larger than people are."""
    return float(scale * rng.uniform(0.84, 1.0))


def _distance_outside(brain: NDArray[np.bool_], grid: Grid) -> FloatArray:
    """Signed distance in mm to the surface of a mask, smooth, from a 2 mm grid."""
    coarse = grid.coarser(2)
    inside = resample(brain.astype(np.float32), grid, coarse, outside=0.0) > 0.5
    distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    smooth = ndimage.gaussian_filter(distance.astype(np.float32) * 2, 0.8)
    return resample(smooth, coarse, grid)


def _between(distance: FloatArray, low: float, high: float) -> FloatArray:
    """1 between two distances, with edges as soft as a voxel."""
    result: FloatArray = np.clip(distance - low + 0.5, 0, 1) * np.clip(high + 0.5 - distance, 0, 1)
    return result


def _layers(
    rng: np.random.Generator, q: Coordinates, outside_mm: FloatArray, base: Anatomy, scale: float
) -> tuple[dict[str, Bytes], FloatArray]:
    """Shares of dura, bone, marrow, muscle, fat and eyes; susceptibility of air and bone."""
    low = (0.4, 0.8, 0.4, 0.8, 1.0, 1.5)
    high = (1.6, 2.2, 5.0, 2.0, 4.0, 6.0)
    ends = np.cumsum(rng.uniform(low, high)) * scale
    neck, face = neck_and_face(q)
    flesh = (neck | face) & (outside_mm > ends[3])
    air = _air(rng, q, outside_mm)
    eye = np.clip((1.05 - ellipsoid_radius(q, *EYE)) * 8, 0, 1) * flesh * ~air
    solid = ~air * (1 - eye)
    noise = ndimage.gaussian_filter(
        rng.standard_normal([-(-n // 4) + 1 for n in outside_mm.shape], np.float32), 1.0
    )
    coarse = Grid(noise.shape, base.grid.origin_mm, (4.0, 4.0, 4.0))
    fatty = resample((noise > 0.3 * noise.std()).astype(np.float32), coarse, base.grid)
    table = _between(outside_mm, ends[0], ends[1]) + _between(outside_mm, ends[2], ends[3])
    layers = {
        "dura": _between(outside_mm, 0.0, ends[0]),
        "bone": np.minimum(table, 1) * ~neck * solid,
        "marrow": _between(outside_mm, ends[1], ends[2]) * ~flesh * solid,
        "muscle": np.maximum(_between(outside_mm, ends[3], ends[4]), flesh * (1 - fatty)) * solid,
        "fat": np.maximum(_between(outside_mm, ends[4], ends[5]), flesh * fatty) * solid,
        "eye": eye,
    }
    at = tuple(
        np.minimum(np.arange(n) * 2, base.grid.shape[axis] - 1)
        for axis, n in enumerate(base.chi_grid.shape)
    )
    pick = np.ix_(*at)
    head = ((outside_mm < ends[5]) | flesh)[pick] & ~air[pick]
    chi = np.where(head, -AIR_PPM, 0).astype(np.float32) * np.float32(rng.uniform(0.7, 1.0))
    bone = (outside_mm[pick] > ends[0]) & (outside_mm[pick] < ends[3]) & head & ~neck[pick]
    chi[bone] += np.float32(BONE_PPM * rng.uniform(0.5, 1.1))
    return {name: as_byte(part.astype(np.float32)) for name, part in layers.items()}, chi


def _air(rng: np.random.Generator, q: Coordinates, outside_mm: FloatArray) -> NDArray[np.bool_]:
    """Air spaces of many sizes; some people lack one."""
    air = np.zeros(outside_mm.shape, bool)
    for centre, radii in AIR_SPACES:
        if rng.random() < 0.15:
            continue
        moved = tuple(np.array(centre) + rng.normal(0, 2, 3) * (1, 1, centre[2] > 0))
        wide = tuple(np.array(radii) * rng.uniform(0.5, 1.25, 3))
        air |= ellipsoid_radius(q, moved, wide) < 1
    return air & (outside_mm > 1)


def _with_dura(
    rng: np.random.Generator, dura: Bytes, sinus: FloatArray, q: Coordinates, csf: FloatArray,
    inside: NDArray[np.bool_], scale: float,
) -> Bytes:  # fmt: skip
    """Dura of the vault, around sinuses, the falx and the tentorium."""
    wall = np.clip(ndimage.grey_dilation(sinus, (3, 3, 3)) - sinus, 0, 1)
    z, y, x = q
    half = rng.uniform(0.4, 1.0) * max(scale, 0.6)
    gap = inside & ((csf > 0.3) | (rng.random() < 0.5))  # a sheet without holes, or in fluid alone
    high = z > 26 + 10 * ((y + 20) / 60) ** 2  # the free edge, above the callosum
    falx = np.clip(half + 0.5 - np.abs(x), 0, 1) * (high | (y < -62) & (z > 0)) * gap
    roof = -8 + 0.35 * (y + 90) - 0.004 * x**2
    tent = np.clip(half + 0.5 - np.abs(z - roof), 0, 1) * (y < -34) * gap
    share = np.maximum(np.maximum(wall, falx), tent) * (1 - sinus)
    return np.maximum(dura, as_byte(share.astype(np.float32)))


def _roots(rng: np.random.Generator, sinuses: list[Tube]) -> FloatArray:
    """Where veins join the sinuses: every 8 to 20 mm."""
    roots = []
    for tube in sinuses:
        step = max(1, round(rng.uniform(8, 20) / STEP_MM))
        roots.append(
            tube.path_mm[step // 2 :: step]
            - 0.3 * (tube.width_mm[step // 2 :: step, None] * tube.outward[step // 2 :: step])
        )
    return np.concatenate(roots)


def _brain(
    solid: FloatArray, csf: FloatArray, q: Coordinates, scale: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Parenchyma with sulci closed and ventricles filled, and the ventricles alone."""
    parenchyma = solid > 0.5
    z, y, x = q
    central = ((z - 14) / 28) ** 2 + ((y + 16) / 56) ** 2 + (x / 36) ** 2 < 1
    ventricle = (csf > 0.5) & central
    labels, count = ndimage.label(parenchyma)
    if count > 1:
        parenchyma = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    ball = ndimage.generate_binary_structure(3, 1)
    closed = ndimage.binary_closing(parenchyma | ventricle, ball, max(1, round(2 * scale)))
    closed = ndimage.binary_fill_holes(closed)
    for part in closed:  # what is left of a fissure between two gyri
        holes, count = ndimage.label(~part)
        small = np.bincount(holes.ravel()) < MOST_HOLE_MM2
        part |= small[holes]
    smooth = ndimage.gaussian_filter(closed.astype(np.float32), 1.2 * scale, truncate=2)
    return smooth > 0.5, ventricle
