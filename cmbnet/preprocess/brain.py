"""A brain mask by classical means. It is fast and coarse, and rather too large than too small.

Susceptibility-weighted images show brain and CSF bright, skull and air dark, and the scalp bright
but thin. The steps, on a grid of about 3 mm, are: split tissue from air, compare each place with
the tissue around it (coil shading), cut thin bridges by opening, keep the largest piece, close the
gaps of veins, drop-out and haemorrhage, and fill holes. Lobar microbleeds sit in the cortex, so the
mask errs outward, never inward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cmbnet.preprocess.cells import distance_mm, mean_around
from cmbnet.preprocess.resample import PlaneResampler, averaging_matrix, sampling_matrix
from cmbnet.threads import in_slabs

if TYPE_CHECKING:
    from numpy.typing import NDArray

COARSE_MM: Final = 3.0
"""Size of a cell of the grid on which the mask is made. Larger voxels stay as they are."""

SHADING_MM: Final = 20.0
"""Sigma of the neighbourhood that a cell is compared with."""

TISSUE_FRACTION: Final = 0.5
"""A cell is tissue if it reaches this fraction of the mean tissue around it."""

BRIDGE_MM: Final = 6.0
"""Opening radius: scalp, optic nerves and dural bridges are thinner than twice this."""

CLOSING_MM: Final = 9.0
"""Closing radius: veins, sulci, sinuses and drop-out narrower than twice this are brain."""

OUTWARD_MM: Final = 1.5
"""Distance by which the finished mask is grown. On two phantoms 1 mm gives Dice 0.957 and 0.962,
with 0.977 and 0.995 of the brain inside; 1.5 mm gives 0.949 and 0.951, with 0.980 and 0.996. (What
is missing is drop-out at the skull base.) Of the voxels on the very surface of a test head that are
as dark as a microbleed, 0 mm keeps 81 %, 0.5 mm 96 %, 1 mm 99.8 %, and 1.5 mm all."""

SMOOTH_MM: Final = 12.0
"""Distance over which the finished field falls from 1 to 0."""

HOT_PERCENTILE: Final = 99.5
"""Coarse cells brighter than this percentile are set to it."""


@dataclass(frozen=True, slots=True)
class CoarseBrain:
    """A brain mask on the coarse grid."""

    # A smooth field, float32, 0 to 1, of the shape (z, y, x) of the coarse grid. Brain is where it
    # is at least 0.5.
    inside: NDArray[np.float32]
    step: tuple[float, float, float]  # Number of canonical voxels in a coarse cell along z, y, x
    # False if nothing looked like a brain. `inside` is then 1 wherever there is signal.
    found: bool
    certainty: float = 1.0  # Certainty of the estimate, 0 to 1. It is 1 if the method cannot tell.
    # Share of the largest piece, which `inside` holds, in all that looked like brain
    largest_share: float = 1.0

    def bounding_box(self) -> tuple[tuple[float, float], ...]:
        """Return the edges of the brain along z, y, x, as canonical indices."""
        return edges_of(self.inside >= 0.5, self.step)

    def covered_by(self, mask: NDArray[np.bool_]) -> float | None:
        """Return the share of the brain that lies in a mask, 0 to 1, or None without a brain.

        The mask is (z, y, x) in canonical orientation.
        """
        if not self.found:
            return None
        brain = self.inside >= 0.5
        return float(cells_of(mask, self.step)[brain].mean())

    def sample(
        self, z: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Sample the mask at canonical positions along each axis by linear interpolation.

        Canonical indices may be fractional. Return bool of shape (len(z), len(y), len(x)), False
        outside the scan.
        """
        matrices = [
            sampling_matrix(n, (positions + 0.5) / step - 0.5)
            for n, positions, step in zip(self.inside.shape, (z, y, x), self.step, strict=True)
        ]
        # Slices first: the coarse grid has the fewest numbers.
        slices = (matrices[0] @ self.inside.reshape(len(self.inside), -1)).reshape(
            -1, *self.inside.shape[1:]
        )
        resampler = PlaneResampler(matrices[1], matrices[2])
        mask = np.empty((len(slices), *resampler.shape), np.bool_)

        def fill(slab: slice) -> None:
            np.greater_equal(resampler(slices[slab]), 0.5, out=mask[slab])

        in_slabs(fill, len(slices))
        return mask


def edges_of(
    mask: NDArray[np.bool_], step: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> tuple[tuple[float, float], ...]:
    """Return the first and the last index along z, y, x of a mask, at the edges of its cells.

    The mask is (z, y, x) and not empty. `step` is the length of a cell along each axis, in the unit
    of the result.
    """
    edges = []
    for axis, length in enumerate(step):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask.any(axis=others))
        edges.append((float(used[0] * length - 0.5), float((used[-1] + 1) * length - 0.5)))
    return tuple(edges)


def estimate_brain(
    canonical: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> CoarseBrain:
    """Estimate where the brain is.

    Args:
        canonical: float32 (z, y, x) in canonical orientation, any intensity scale.
        spacing_mm: Spacing along z, y, x.

    Returns:
        The mask. If nothing looks like a brain, `found` is False, and the mask covers all that has
        signal, so that it is never empty.
    """
    steps = tuple(max(1.0, COARSE_MM / spacing) for spacing in spacing_mm)
    step = (steps[0], steps[1], steps[2])
    cells = cells_of(canonical, step)
    cell_mm = tuple(spacing * one for spacing, one in zip(spacing_mm, step, strict=True))
    cells -= cells.min()
    if not cells.any():
        return CoarseBrain(np.ones_like(cells), step, found=False)
    top = float(np.percentile(cells, HOT_PERCENTILE)) or float(cells.max())
    np.minimum(cells, top, out=cells)
    tissue = _tissue(cells, cell_mm)
    brain = _middle_piece(tissue, cell_mm)
    found = brain is not None
    mask = tissue if brain is None else brain
    if not mask.any():
        mask = np.ones_like(tissue)
    return CoarseBrain(_smooth(mask, cell_mm) if found else mask.astype(np.float32), step, found)


def cells_of(canonical: NDArray[Any], step: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return a scan or mask in cells of `step` voxels, averaged in cells larger than a voxel."""
    z, y, x = (_cell_matrix(n, one) for n, one in zip(canonical.shape, step, strict=True))
    # Backward views would be copied by the matrix product: turn the small matrix instead.
    flip_y, flip_x = (canonical.strides[axis] < 0 for axis in (1, 2))
    forward = canonical[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1]
    resampler = PlaneResampler(y[:, ::-1] if flip_y else y, x[:, ::-1] if flip_x else x)
    cells = resampler.all_slices(forward)
    averaged: NDArray[np.float32] = (z @ cells.reshape(len(cells), -1)).reshape(
        -1, *cells.shape[1:]
    )
    return averaged


def _cell_matrix(n: int, step: float) -> NDArray[np.float32]:
    if step >= 1:
        return averaging_matrix(n, step)
    cells = int(np.ceil(n / step - 1e-9))
    return sampling_matrix(n, (np.arange(cells, dtype=np.float64) + 0.5) * step - 0.5)


def _tissue(cells: NDArray[np.float32], cell_mm: tuple[float, ...]) -> NDArray[np.bool_]:
    """Cells with signal, each judged against the tissue around it."""
    threshold = _otsu(cells)
    above = cells[cells > threshold]
    if above.size == 0:
        return np.zeros(cells.shape, np.bool_)
    # Where there is no air to split from, Otsu splits tissue from tissue: stay below half.
    threshold = min(threshold, 0.5 * float(np.median(above)))
    sigma = [SHADING_MM / mm for mm in cell_mm]
    tissue = cells > threshold
    for _ in range(2):
        around = mean_around(cells, tissue, sigma, mode="nearest", least=1e-3)
        tissue = cells > np.maximum(TISSUE_FRACTION * around, 0.4 * threshold)
    return tissue


def _otsu(cells: NDArray[np.float32]) -> float:
    """Threshold that splits the histogram into the two most compact classes."""
    counts, edges = np.histogram(cells, bins=128)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[int(np.nanargmax(between)) + 1])


def _middle_piece(
    tissue: NDArray[np.bool_], cell_mm: tuple[float, ...]
) -> NDArray[np.bool_] | None:
    """Opening, the largest piece, closing, filling; None if nothing survives the opening."""
    core = distance_mm(tissue, cell_mm, reach_mm=BRIDGE_MM) > BRIDGE_MM
    if not core.any():
        return None
    grown_back_mm = BRIDGE_MM + 1.0
    away = distance_mm(~largest_piece(core), cell_mm, reach_mm=grown_back_mm)
    brain = tissue & (away <= grown_back_mm)
    # Closing with room around, or the border of the volume would act as background.
    pad = [int(np.ceil(CLOSING_MM / mm)) + 1 for mm in cell_mm]
    padded = np.pad(brain, [(one, one) for one in pad])
    grown = distance_mm(~padded, cell_mm, reach_mm=CLOSING_MM) <= CLOSING_MM
    closed = distance_mm(grown, cell_mm, reach_mm=CLOSING_MM) > CLOSING_MM
    closed = closed[tuple(slice(one, -one) for one in pad)] | brain
    return filled(filled(closed, in_slices=True), in_slices=False)


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest piece of a mask that is not empty. Voxels of a piece share faces."""
    from scipy.ndimage import label

    labels, _ = label(mask)
    piece: NDArray[np.bool_] = labels == int(np.bincount(labels.ravel())[1:].argmax()) + 1
    return piece


def filled(mask: NDArray[np.bool_], *, in_slices: bool) -> NDArray[np.bool_]:
    """Fill the holes of a mask. A hole reaches no border, of its slice or of the volume."""
    from scipy.ndimage import generate_binary_structure, label

    touching = generate_binary_structure(3, 1)
    if in_slices:
        touching[[0, 2]] = False
    labels, count = label(~mask, structure=touching)
    outside = np.zeros(count + 1, np.bool_)
    for axis in (1, 2) if in_slices else (0, 1, 2):
        ends = np.moveaxis(labels, axis, 0)[[0, -1]]
        outside[ends.ravel()] = True
    outside[0] = False
    whole: NDArray[np.bool_] = ~outside[labels]
    return whole


def _smooth(mask: NDArray[np.bool_], cell_mm: tuple[float, ...]) -> NDArray[np.float32]:
    """A smooth field that is 0.5 at `OUTWARD_MM` outside the mask's surface."""
    half = min(cell_mm) / 2
    reach_mm = SMOOTH_MM / 2 + OUTWARD_MM + half  # beyond it the field is 0 or 1
    inside = distance_mm(mask, cell_mm, reach_mm=reach_mm)
    outside = distance_mm(~mask, cell_mm, reach_mm=reach_mm)
    # Signed distance to the surface between cells, negative inside.
    distance = np.where(mask, half - inside, outside - half)
    field: NDArray[np.float32] = np.clip(0.5 - (distance - OUTWARD_MM) / SMOOTH_MM, 0, 1).astype(
        np.float32
    )
    return field
