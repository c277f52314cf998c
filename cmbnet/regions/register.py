"""`align`: bring the template head onto a scan by least squares, in a fraction of a second.

The scan is averaged to cells of about 4 mm. Two things are compared at each cell: the share of
brain, and the brightness inside the brain. No contrast is assumed: the brightness is explained by
the template's grey matter, white matter and fluid with whatever weights fit best, and by a ramp.
A few starts are followed: head nodded forwards and backwards and, where the scan cuts the brain,
shifted along the slices. The best gets an affine map, then a smooth warp. Cells outside the scan
say nothing, so a scan of a part of the head is no special case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.floating]

CELL_MM: Final = 4.0
MARGIN_MM: Final = 12.0
"""Cells are compared up to this distance outside the brain."""

COARSE_MM: Final = 6.0
"""Standard deviation of the smoothing for the starts."""

SHARE_SD: Final = 0.4
"""Expected error of the share of brain."""

LEAST_VALUE_SD: Final = 0.03
FREEDOM: Final = 0.1
"""Independent cells per cell: neighbours say the same."""

AFFINE_SD: Final = 0.06
"""How far a head may differ from the template, in scale and shear."""

WARP_WAVES: Final = (4, 5, 4)
"""Cosines along z, y, x of the warp."""

BENDING: Final = 6e5
"""How stiff the warp is."""

POINTS_COARSE: Final = 2500
POINTS_FINE: Final = 8000
PITCHES_DEG: Final = (0.0, -25.0, 25.0)
SHIFTS_MM: Final = (-30.0, -15.0, 0.0, 15.0, 30.0)


@dataclass(frozen=True, slots=True)
class Field:
    """Maps on a regular grid of world positions.

    Args:
        maps: (z, y, x, m) float32; the first is the share of brain, the others explain brightness.
        origin_mm: Position (superior, anterior, right) of cell (0, 0, 0).
        cell_mm: Size of a cell.
    """

    maps: NDArray[np.float32]
    origin_mm: Floats
    cell_mm: float

    def smooth(self, sigma_mm: float) -> Field:
        """The same, blurred."""
        sigma = (*(sigma_mm / self.cell_mm,) * 3, 0)
        return replace(self, maps=ndimage.gaussian_filter(self.maps, sigma, mode="nearest"))

    def at(self, points_mm: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Values (n, m) and their slopes per mm (n, m, 3) at positions (n, 3)."""
        shape = np.array(self.maps.shape[:3])
        index = np.clip((points_mm - self.origin_mm) / self.cell_mm, 0, shape - 1.001)
        first = index.astype(np.intp)
        z, y, x = ((index - first).T[:, :, None]).astype(np.float32)
        flat = self.maps.reshape(-1, self.maps.shape[3])
        steps = np.array([shape[1] * shape[2], shape[2], 1])
        base = first @ steps
        low = [flat[base + dz * steps[0] + dy * steps[1]] for dz in (0, 1) for dy in (0, 1)]
        slope_x = [
            flat[base + dz * steps[0] + dy * steps[1] + 1] - low[2 * dz + dy]
            for dz in (0, 1)
            for dy in (0, 1)
        ]
        rows = [value + x * slope for value, slope in zip(low, slope_x, strict=True)]
        planes = [rows[0] + y * (rows[1] - rows[0]), rows[2] + y * (rows[3] - rows[2])]
        along_y = [rows[1] - rows[0], rows[3] - rows[2]]
        along_x = [slope_x[k] + y * (slope_x[k + 1] - slope_x[k]) for k in (0, 2)]
        slopes = [planes[1] - planes[0], *(a[0] + z * (a[1] - a[0]) for a in (along_y, along_x))]
        values = planes[0] + z * slopes[0]
        return values, (np.stack(slopes, axis=-1) / self.cell_mm).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a scan that are compared.

    Args:
        points_mm: (n, 3) world positions, superior, anterior, right.
        share: (n,) share of brain.
        value: (n,) brightness inside the brain, of which the median is 1.
        cut: Whether the first or the last slice cuts the brain.
    """

    points_mm: Floats
    share: NDArray[np.float32]
    value: NDArray[np.float32]
    cut: bool

    @property
    def centre_mm(self) -> Floats:
        """Centre of the brain."""
        centre: Floats = np.average(self.points_mm, axis=0, weights=self.share)
        return centre

    def thinned(self, count: int) -> Cells:
        """Some of the cells, drawn at random, the same each time."""
        if len(self.share) <= count:
            return self
        some = np.random.default_rng(0).choice(len(self.share), count, replace=False)
        return replace(
            self, points_mm=self.points_mm[some], share=self.share[some], value=self.value[some]
        )


def cells_of(
    image: Floats, brain: NDArray[np.bool_], affine: Floats, *, blur_mm: float = 0.0
) -> Cells:
    """Average a scan to cells.

    Args:
        image: (z, y, x) values.
        brain: Mask of the same shape, with at least one voxel.
        affine: (4, 4), index (z, y, x, 1) to RAS+ mm.
        blur_mm: Standard deviation of a further smoothing.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    # Of fine pixels some suffice.
    strides = np.maximum(1, (CELL_MM / spacing / 3).astype(int))
    thin = tuple(slice(None, None, stride) for stride in strides)
    image, brain, spacing = image[thin], brain[thin], spacing * strides
    factors = np.maximum(1, np.round(CELL_MM / spacing)).astype(int)
    share, mean = (average(part, factors) for part in (brain, image * brain))
    if blur_mm:
        sigma = blur_mm / (spacing * factors)
        share, mean = (
            ndimage.gaussian_filter(part, sigma, mode="nearest") for part in (share, mean)
        )
    value = mean / np.maximum(share, 1e-3)
    value /= max(float(np.median(value[share > 0.5 * share.max()])), 1e-6)
    near = ndimage.distance_transform_edt(share < 0.3, sampling=spacing * factors) < MARGIN_MM
    centres = (np.argwhere(near) * factors + (factors - 1) / 2) * strides
    points = (centres @ affine[:3, :3].T + affine[:3, 3])[:, ::-1]
    area = share.sum(axis=(1, 2))
    cut = bool(max(area[0], area[-1]) > 0.15 * area.max())
    return Cells(np.ascontiguousarray(points), share[near], np.clip(value[near], 0, 2), cut)


def average(values: NDArray[np.generic], factors: Floats) -> NDArray[np.float32]:
    """Means of blocks; what is left over at the end of an axis is dropped."""
    result: NDArray[Any] = values
    for axis, factor in enumerate(factors.tolist()):
        if factor > 1:
            parts = np.moveaxis(result, axis, 0)[: result.shape[axis] // factor * factor]
            total = parts[::factor].astype(np.float32)
            for start in range(1, factor):
                total += parts[start::factor]
            result = np.moveaxis(total / np.float32(factor), 0, axis)
    return result.astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Alignment:
    """A map from the world of a scan to that of the template.

    Args:
        matrix: (3, 3), positions as superior, anterior, right.
        offset_mm: (3,).
        overlap: Dice overlap of the two brains within the scan, 0 to 1.
        explained: Part of the variance of brightness in the brain that the tissues explain.
        waves: (m, 3) amplitudes of the warp in mm; empty without one.
    """

    matrix: Floats
    offset_mm: Floats
    overlap: float = 0.0
    explained: float = 0.0
    waves: Floats | None = None

    @property
    def fit(self) -> float:
        """How well brain and brightness agree, to compare alignments of one scan."""
        return self.overlap + self.explained

    def to_template(self, points_mm: Floats) -> Floats:
        """Template positions (n, 3) of world positions (n, 3), superior, anterior, right."""
        moved: Floats = points_mm @ self.matrix.T + self.offset_mm
        return moved if self.waves is None else moved + _cosines(moved)[0] @ self.waves


def align(
    coarse: Cells, fine: Cells, template: Field, *, pitches_deg: Sequence[float] = PITCHES_DEG,
    affine_sd: float = AFFINE_SD, warp: bool = True,
) -> Alignment:  # fmt: skip
    """Align a template to a scan.

    Args:
        coarse: The scan blurred by `COARSE_MM`.
        fine: The scan.
        template: What is aligned.
        pitches_deg: Nods of the starts.
        affine_sd: How far scale and shear may lie from a rotation; tiny for a rigid map.
        warp: Whether to add a smooth warp.
    """
    few, blurred = coarse.thinned(POINTS_COARSE), template.smooth(COARSE_MM)
    middle = _centre(template)
    shifts = SHIFTS_MM if coarse.cut else (0.0,)
    starts = []
    for pitch in pitches_deg:
        for shift in shifts:
            turn = _nod(np.deg2rad(pitch))
            start = Alignment(turn, middle + np.array([shift, 0, 0]) - turn @ few.centre_mm)
            starts.append(_fit_affine(blurred, few, start, 4, affine_sd))
    # Overlap alone misleads: many nods cover a slab of brain.
    starts.sort(key=lambda start: -start.fit)
    tried = [_fit_affine(blurred, few, start, 8, affine_sd) for start in starts[:3]]
    best = max(tried, key=lambda start: start.fit)
    many = fine.thinned(POINTS_FINE)
    best = _fit_affine(template, many, best, 12, affine_sd)
    return _fit_warp(template, many, best, 4) if warp else best


def _nod(angle: float) -> Floats:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])


def _centre(template: Field) -> Floats:
    brain = template.maps[..., 0]
    centre = np.array(ndimage.center_of_mass(brain)) * template.cell_mm + template.origin_mm
    result: Floats = centre
    return result


@dataclass(frozen=True, slots=True)
class _Step:
    """Slopes and errors of one comparison; both are in standard deviations."""

    slopes: NDArray[np.float32]
    errors: NDArray[np.float32]
    overlap: float
    explained: float

    def normal(self, parts: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Normal equations of amplitudes (p, 3) of functions (n, p) of the position."""
        hessian = np.empty((parts.shape[1], 3, parts.shape[1], 3))
        for a in range(3):
            for b in range(a, 3):
                both = (self.slopes[..., a] * self.slopes[..., b]).sum(axis=0)
                hessian[:, a, :, b] = hessian[:, b, :, a] = (parts * both[:, None]).T @ parts
        gradient = parts.T @ np.einsum("cnk,cn->nk", self.slopes, self.errors)
        size = 3 * parts.shape[1]
        return FREEDOM * hessian.reshape(size, size), FREEDOM * gradient.ravel().astype(float)


def _compare(template: Field, cells: Cells, points_mm: Floats) -> _Step:
    values, slopes = template.at(points_mm)
    share, value = cells.share, cells.value
    brain = values[:, 0]
    ramp = (cells.points_mm - cells.centre_mm).astype(np.float32) / 60
    basis = np.concatenate([values[:, 1:], brain[:, None] * ramp], axis=1) * share[:, None]
    weighted = basis * share[:, None]
    weights = np.linalg.solve(
        weighted.T @ basis + 1e-3 * np.eye(basis.shape[1]), weighted.T @ (value * share)
    ).astype(np.float32)
    wrong = share * value - basis @ weights
    spread = max(float(wrong[share > 0.5].std()), LEAST_VALUE_SD)
    bright = np.einsum("nmk,m->nk", slopes[:, 1:], weights[: slopes.shape[1] - 1]) * share[:, None]
    mean = np.average(value, weights=share)
    overlap = 2 * np.minimum(brain, share).sum() / (brain + share).sum()
    unexplained = np.average(wrong**2, weights=share) / np.average(
        (value - mean) ** 2, weights=share
    )
    return _Step(
        np.stack([slopes[:, 0] / SHARE_SD, bright / spread]),
        np.stack([(share - brain) / SHARE_SD, np.clip(wrong, -0.4, 0.4) / spread]),
        float(overlap),
        float(1 - unexplained),
    )


def _fit_affine(
    template: Field, cells: Cells, start: Alignment, steps: int, affine_sd: float
) -> Alignment:
    """Gauss-Newton steps of an affine map that is drawn to the nearest rotation.

    The prior is one of stretching alone: a turn of any size is as likely as another.
    """
    centre, scale = cells.centre_mm, 60.0
    parts = np.concatenate(
        [np.ones((len(cells.share), 1)), (cells.points_mm - centre) / scale], axis=1
    ).astype(np.float32)
    matrix, middle = start.matrix, start.matrix @ centre + start.offset_mm
    for _ in range(steps):
        step = _compare(template, cells, (cells.points_mm - centre) @ matrix.T + middle)
        hessian, gradient = step.normal(parts)
        left, _, right = np.linalg.svd(matrix)
        turn = left @ right
        # How a change of the matrix stretches; what only turns costs nothing.
        stretches = np.einsum("kp,qc->pqck", np.eye(3), turn).reshape(3, 3, 9) / scale
        stretches = ((stretches + stretches.transpose(1, 0, 2)) / 2).reshape(9, 9)
        gradient[3:] -= stretches.T @ (matrix @ turn.T - np.eye(3)).ravel() / affine_sd**2
        hessian[3:, 3:] += stretches.T @ stretches / affine_sd**2
        hessian[np.diag_indices(12)] += 1e-4
        change = np.linalg.solve(hessian, gradient).reshape(4, 3)
        change *= min(1.0, 20.0 / np.abs(change).max())
        matrix, middle = matrix + change[1:].T / scale, middle + change[0]
        if np.abs(change).max() < 0.05:
            break
    step = _compare(template, cells, (cells.points_mm - centre) @ matrix.T + middle)
    return Alignment(matrix, middle - matrix @ centre, step.overlap, step.explained)


BOX_MM: Final = ((-72.0, -134.0, -98.0), (188.0, 232.0, 196.0))
"""Corner and size (z, y, x) of the box in which the cosines of the warp live."""


def _cosines(points_mm: Floats) -> tuple[Floats, Floats]:
    """Cosine waves (n, m) at template positions, and how much each of them bends."""
    corner, size = (np.array(part) for part in BOX_MM)
    angle = np.pi * np.clip((points_mm - corner) / size, 0, 1)
    z, y, x = (
        np.cos(angle[:, axis, None] * np.arange(count)) for axis, count in enumerate(WARP_WAVES)
    )
    waves = (z[:, :, None, None] * y[:, None, :, None] * x[:, None, None, :]).reshape(len(z), -1)
    k, j, i = np.meshgrid(
        *(np.pi * np.arange(count) / mm for count, mm in zip(WARP_WAVES, size, strict=True)),
        indexing="ij",
    )
    return waves, (k**2 + j**2 + i**2).ravel() ** 2


def _fit_warp(template: Field, cells: Cells, start: Alignment, steps: int) -> Alignment:
    """Gauss-Newton steps of a warp on top of an affine map."""
    affine = start.to_template(cells.points_mm)
    parts, bending = _cosines(affine)
    waves = np.zeros((parts.shape[1], 3))
    precision = np.repeat(BENDING * bending + 1e-3, 3)
    parts32 = parts.astype(np.float32)
    for _ in range(steps):
        step = _compare(template, cells, affine + parts @ waves)
        hessian, gradient = step.normal(parts32)
        hessian[np.diag_indices(len(hessian))] += precision
        change = np.linalg.solve(hessian, gradient - precision * waves.ravel())
        waves = waves + change.reshape(-1, 3)
    step = _compare(template, cells, affine + parts @ waves)
    return replace(start, waves=waves, overlap=step.overlap, explained=step.explained)
