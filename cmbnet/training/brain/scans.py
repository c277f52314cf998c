"""Draw random scans of label heads: any contrast, slices, tilt, coverage, shading and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cmbnet.phantom.grid import FloatArray, Grid, resample
from cmbnet.phantom.individual import rotation_by
from cmbnet.preprocess.brain_network import CELL_MM
from cmbnet.training.brain.heads import (
    GRID,
    IN_BRAIN,
    IN_HULL,
    N_FLESH,
    N_LABELS,
    Bools,
    Label,
    LabelHead,
)

LABEL_BITS: Final = np.uint8(31)

FLUID_CELLS: Final = 2
"""Distance up to which fluid outside the hull belongs to it. Beyond, it is that of the spine."""

FINE_MM: Final = 2.0
"""Smallest size of pixels and slices. Finer ones would be averaged anyway."""


@dataclass(frozen=True, slots=True)
class SyntheticScan:
    """A scan and its truth."""

    image: FloatArray  # Image, float32 (z, y, x), with canonical axes, in any unit
    spacing_mm: tuple[float, float, float]  # Spacing of the image
    brain: Bools  # Brain mask on the cells of the network over the same field of view


@dataclass(frozen=True, slots=True)
class _Plan:
    """The geometry of a scan: slices with sub-slices, pixels, and the position in the head."""

    spacing_mm: tuple[float, float, float]  # Distance of slices and pixels
    shape: tuple[int, int, int]  # Numbers of slices, rows and columns
    thickness_mm: float  # Thickness of a slice. The rest of the spacing is a gap.
    sub: int  # Number of sub-slices that are averaged to a slice
    turn: NDArray[np.float64]  # Matrix (3, 3) from scan mm to head mm (z, y, x)
    first_mm: NDArray[np.float64]  # Position in the head of the middle of the first voxel

    def sub_slices_mm(self) -> NDArray[np.float64]:
        """Return the positions of all sub-slices."""
        offsets = ((np.arange(self.sub) + 0.5) / self.sub - 0.5) * self.thickness_mm
        middles = np.arange(self.shape[0]) * self.spacing_mm[0]
        return (middles[:, None] + offsets).ravel()

    def plane_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the positions of rows and columns."""
        return (
            np.arange(self.shape[1], dtype=np.float64) * self.spacing_mm[1],
            np.arange(self.shape[2], dtype=np.float64) * self.spacing_mm[2],
        )

    def cells_mm(self) -> tuple[NDArray[np.float64], ...]:
        """Return the positions of the cells of the network."""
        counts = [
            int(np.ceil(n * mm / CELL_MM - 1e-9))
            for n, mm in zip(self.shape, self.spacing_mm, strict=True)
        ]
        return tuple(
            (np.arange(n, dtype=np.float64) + 0.5) * CELL_MM - 0.5 * mm
            for n, mm in zip(counts, self.spacing_mm, strict=True)
        )


def draw_scan(head: LabelHead, rng: np.random.Generator) -> SyntheticScan:
    """Draw a scan of a head."""
    plan = _draw_plan(head, rng)
    positions = (plan.sub_slices_mm(), *plan.plane_mm())
    codes = _look(head.codes, plan, positions)
    brain = _truth(_look(head.codes, plan, plan.cells_mm()))
    image = _contrast(codes & LABEL_BITS, rng)
    _spots(image, codes & IN_BRAIN > 0, plan, rng)
    _drop_out(image, head, plan, positions, rng)
    _cut_away(image, codes, plan, positions, rng)
    slices = image.reshape(plan.shape[0], plan.sub, *plan.shape[1:]).mean(axis=1)
    return SyntheticScan(_received(slices, plan, rng), plan.spacing_mm, brain)


def _draw_plan(head: LabelHead, rng: np.random.Generator) -> _Plan:
    turn = rotation_by(np.deg2rad(rng.normal(0, (10.0, 4.0, 5.0)).clip(-30, 30)))
    turn = turn @ np.diag(rng.uniform(0.94, 1.06) * rng.uniform(0.96, 1.04, 3))
    turn[2] *= rng.choice([-1, 1])  # the other hand
    pixel = FINE_MM if rng.random() < 0.75 else rng.uniform(FINE_MM, 3.6)
    z_mm = FINE_MM if rng.random() < 0.4 else rng.uniform(FINE_MM, 6.8)
    spacing = [z_mm, pixel, pixel]
    fov = [rng.uniform(130, 185), rng.uniform(195, 265), rng.uniform(160, 265)]
    shift = rng.normal(0, (6.0, 6.0, 5.0))
    if rng.random() < 0.3:  # a part of the head
        fov[0] = rng.uniform(35, 120)
        shift[0] = rng.uniform(-50, 50)
    if rng.random() < 0.08:  # slices across another axis
        axis = int(rng.integers(1, 3))
        spacing[0], spacing[axis] = spacing[axis], spacing[0]
    shape = tuple(max(3, round(f / s)) for f, s in zip(fov, spacing, strict=True))
    middle = turn @ ((np.array(shape) - 1) / 2 * spacing)
    centre = np.array([-3.0, -18.0, 0.0]) + shift
    thickness = spacing[0] * (1.0 if rng.random() < 0.6 else rng.uniform(0.6, 1.2))
    return _Plan(
        spacing_mm=(spacing[0], spacing[1], spacing[2]), shape=shape, thickness_mm=thickness,  # type: ignore[arg-type]
        sub=max(1, round(thickness / 1.9)), turn=turn, first_mm=centre - middle,
    )  # fmt: skip


def _look(
    codes: NDArray[np.uint8], plan: _Plan, positions: tuple[NDArray[np.float64], ...]
) -> NDArray[np.uint8]:
    """Look up the nearest code at every position of a grid."""
    index = np.zeros([len(one) for one in positions], np.int32)
    strides = (codes.shape[1] * codes.shape[2], codes.shape[2], 1)
    for axis in range(3):
        z, y, x = (
            (positions[k] * plan.turn[axis, k] / GRID.spacing_mm[axis]).astype(np.float32)
            for k in range(3)
        )
        start = (plan.first_mm[axis] - GRID.origin_mm[axis]) / GRID.spacing_mm[axis]
        at = (z[:, None] + y + np.float32(start + 0.5))[..., None] + x
        np.clip(at, 0, codes.shape[axis] - 1, out=at)
        index += at.astype(np.int32) * strides[axis]
    return codes.ravel().take(index)


def _levels(rng: np.random.Generator) -> FloatArray:
    """Draw the brightness of every label: anything at all, or some kind of MR image."""
    kind = rng.choice(["anything", "any MR", "T2*"], p=[0.08, 0.32, 0.6])
    level = rng.uniform(0, 1, N_LABELS)
    if kind == "anything":
        level[Label.AIR] *= rng.choice([0.0, 0.1, 1.0], p=[0.6, 0.3, 0.1])
        return level.astype(np.float32)
    wide = kind == "any MR"
    white = rng.uniform(0.35, 0.8)
    level[[Label.WHITE, Label.STEM, Label.CORD]] = white * rng.uniform(0.92, 1.08, 3)
    grey = white * (rng.uniform(0.65, 1.35) if wide else rng.uniform(0.88, 1.2))
    level[[Label.GREY, Label.CEREBELLUM, Label.NUCLEI]] = grey * rng.uniform(0.9, 1.1, 3)
    level[Label.IRON] = grey * rng.uniform(0.4, 1.1)
    fluid = white * (rng.uniform(0.0, 2.0) if wide else rng.uniform(0.45, 1.45))
    level[[Label.VENTRICLE, Label.FLUID, Label.EYE]] = fluid * rng.uniform(0.9, 1.1, 3)
    level[Label.BONE] = white * rng.uniform(0, 0.25 if wide else 0.12)
    level[Label.MARROW] = white * rng.uniform(0, 1.3 if wide else 0.6)
    level[Label.DURA] = white * rng.uniform(0.05, 1.1)
    level[[Label.FAT, Label.SKIN]] = white * rng.uniform(0.1, 1.9, 2)
    level[Label.FLESH : Label.FLESH + N_FLESH] = white * rng.uniform(0.1, 1.4, N_FLESH)
    level[[Label.SINUS, Label.VEIN]] = white * rng.uniform(0, 1.9, 2)
    level[Label.CAVITY] = white * rng.uniform(0, 0.15)
    level[Label.AIR] = 0
    return level.astype(np.float32)


def _truth(codes: NDArray[np.uint8]) -> Bools:
    """Return all that the dura encloses, without sinuses, because fluid often looks like cortex."""
    from scipy.ndimage import binary_dilation

    labels = codes & LABEL_BITS
    hull = codes & IN_HULL > 0
    near = binary_dilation(hull, iterations=FLUID_CELLS) & (labels == Label.FLUID)
    enclosed: Bools = (hull | near) & (labels != Label.SINUS)
    return enclosed


def _contrast(labels: NDArray[np.uint8], rng: np.random.Generator) -> FloatArray:
    """Draw brightness with texture, and mix tissues that share a voxel."""
    from scipy.ndimage import gaussian_filter

    image = _levels(rng)[labels]
    strength = rng.uniform(0, 0.18, N_LABELS).astype(np.float32)
    strength[[Label.AIR, Label.CAVITY]] *= 0.2
    texture = _field(labels.shape, float(rng.uniform(1.5, 3.0)), rng)
    texture += 0.7 * _field(labels.shape, float(rng.uniform(4, 12)), rng)
    image *= 1 + strength[labels] * texture
    sigma = float(rng.uniform(0.3, 0.8))
    return gaussian_filter(image, sigma, truncate=2.5)  # type: ignore[no-any-return]


def _field(shape: tuple[int, ...], voxels: float, rng: np.random.Generator) -> FloatArray:
    """Draw noise of about unit spread that changes over some voxels."""
    coarse_shape = tuple(max(2, int(n / voxels) + 2) for n in shape)
    steps = tuple((n - 1) / (m - 1) for n, m in zip(shape, coarse_shape, strict=True))
    fine = Grid(shape, (0, 0, 0), (1, 1, 1))  # type: ignore[arg-type]
    coarse = Grid(coarse_shape, (0, 0, 0), steps)  # type: ignore[arg-type]
    return resample(rng.standard_normal(coarse_shape, np.float32), coarse, fine)


def _spots(image: FloatArray, brain: Bools, plan: _Plan, rng: np.random.Generator) -> None:
    """Draw haemorrhages, infarcts and implants: balls of other brightness, mostly in the brain."""
    voxels = np.flatnonzero(brain.ravel()[::7]) * 7
    count = rng.poisson(rng.choice([0.0, 2.0, 12.0])) if voxels.size else 0
    mm = (plan.thickness_mm / plan.sub, plan.spacing_mm[1], plan.spacing_mm[2])
    for voxel in rng.choice(voxels, count) if count else ():
        centre = np.array(np.unravel_index(voxel, image.shape))
        radius_mm = rng.choice([rng.uniform(1.5, 5), rng.uniform(4, 20)], p=[0.8, 0.2])
        reach = np.ceil(radius_mm / np.array(mm)).astype(int)
        low = np.maximum(centre - reach, 0)
        box = tuple(slice(a, b) for a, b in zip(low, centre + reach + 1, strict=True))
        part = image[box]
        square = sum(
            ((np.arange(n) + a - c) * step).reshape([-1 if k == axis else 1 for k in range(3)]) ** 2
            for axis, (n, a, c, step) in enumerate(zip(part.shape, low, centre, mm, strict=True))
        )
        part[square < radius_mm**2] *= rng.choice([rng.uniform(0, 0.5), rng.uniform(0.5, 2.0)])


def _drop_out(
    image: FloatArray, head: LabelHead, plan: _Plan,
    positions: tuple[NDArray[np.float64], ...], rng: np.random.Generator,
) -> None:  # fmt: skip
    """Remove signal around the air of the skull base."""
    if rng.random() < 0.35:
        return
    back = np.linalg.inv(plan.turn)
    for centre_mm in head.air_mm:
        lost = rng.uniform(-0.5, 1.0)
        if lost <= 0:
            continue
        centre = back @ (centre_mm - plan.first_mm + rng.normal(0, 3, 3))
        sigma = rng.uniform(6, 16)
        z, y, x = (
            np.exp(-0.5 * ((one - c) / sigma) ** 2).astype(np.float32)
            for one, c in zip(positions, centre, strict=True)
        )
        image *= 1 - np.clip(1.4 * lost * (z[:, None] * y)[..., None] * x, 0, 1)


def _cut_away(
    image: FloatArray, codes: NDArray[np.uint8], plan: _Plan,
    positions: tuple[NDArray[np.float64], ...], rng: np.random.Generator,
) -> None:  # fmt: skip
    """Remove everything but the brain, or the face, from some scans."""
    from scipy.ndimage import binary_dilation

    kind = rng.random()
    if kind < 0.15:
        kept = codes & (IN_HULL if rng.random() < 0.6 else IN_BRAIN) > 0
        rounds = int(rng.integers(0, 4))
        image *= binary_dilation(kept, iterations=rounds) if rounds else kept
    elif kind < 0.27:
        lean = np.array([-0.55, 0.83, 0.0]) @ plan.turn
        at = float(np.array([-0.55, 0.83, 0.0]) @ plan.first_mm)
        z, y, x = (one * part for one, part in zip(positions, lean, strict=True))
        image *= (z[:, None] + y)[..., None] + x + at < rng.uniform(64, 82)


def _received(slices: FloatArray, plan: _Plan, rng: np.random.Generator) -> FloatArray:
    """Shading, ghosts, noise and an arbitrary scale."""
    if rng.random() < 0.8:
        fov_mm = max(n * mm for n, mm in zip(plan.shape, plan.spacing_mm, strict=True))
        rough = _field(slices.shape, max(slices.shape) * float(rng.uniform(60, 150)) / fov_mm, rng)
        slices = slices * np.exp(rng.uniform(0.05, 0.4) * rough)
    if rng.random() < 0.3:
        slices = slices + rng.uniform(0, 0.12) * np.roll(slices, rng.integers(8, 40), axis=1)
    noise = rng.choice([rng.uniform(0, 0.03), rng.uniform(0.02, 0.12)])
    grain = rng.standard_normal((2, *slices.shape), np.float32) * np.float32(noise)
    slices = np.hypot(slices + grain[0], grain[1])
    gamma = rng.uniform(0.7, 1.4) if rng.random() < 0.3 else 1.0
    return (slices**gamma).astype(np.float32)
