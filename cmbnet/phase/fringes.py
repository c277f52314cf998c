"""Fringe lines with open ends: where they end, the phase turns once around a point.

The field in a head makes none, however strong it is. They arise where the phases of coils are
combined badly (parallel imaging), and an SWI that is made with such a phase has false dark spots.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.phase.units import FloatArray, Phase
from cmbnet.volume import Volume

CELL_MM: Final = 2.0
"""Side of the cells that the phase is averaged over; noise makes no turn of so many voxels."""

STEP_MM: Final = 4.0
"""Distance of the slices that are looked at first. Beside one that shows a turn, all are. Where a
vessel crosses the square, an end may be unseen for so long."""

LEAST_MM: Final = 8.0
LEAST_SLICES: Final = 3
"""Slices in a row must show the same end for so long, and so many of them."""

RING_CELLS: Final = 6
"""Side of the square of cells around an end on whose border the phase must turn."""

LEAST_COHERENT: Final = 0.85
"""Where less of a cell's signal remains in its mean, its phase may be steeper than it looks."""

TISSUE_SHARE: Final = 0.5
LEAST_TISSUE: Final = 0.75
"""Tissue is what has this share of the brain's median; a cell must hold this share of it."""


def fringe_ends(phase: Phase, scan: Volume, brain: NDArray[Any]) -> tuple[int, ...]:
    """Find the ends of fringe lines in the brain.

    Phase that the scanner high-passed does not show them: the filter takes them away.

    Args:
        phase: The phase.
        scan: SWI or magnitude on the same grid.
        brain: (z, y, x) brain mask.

    Returns:
        For each end, the slice (from 0) in the middle of those that show it.
    """
    inside = brain != 0
    if not inside.any():
        return ()
    rows, columns = (np.flatnonzero(inside.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    level = TISSUE_SHARE * float(np.median(scan.data[inside]))
    slice_mm = scan.spacing_mm[0]
    step = max(1, round(STEP_MM / slice_mm))
    usable = np.flatnonzero(phase.filled & inside.any(axis=(1, 2)))
    turns: dict[int, NDArray[np.int8]] = {}

    def look(chosen: NDArray[np.intp]) -> None:
        for z in chosen.tolist():
            tissue = inside[z][box] & (scan.data[z][box] > level)
            (radians,) = phase.radians((slice(z, z + 1), *box))
            turns[z] = _turns(tissue, radians, scan.spacing_mm[1:])

    look(usable[::step])
    shown = [z for z, turn in turns.items() if turn.any()]
    if not shown:
        return ()
    near = np.abs(usable[:, None] - shown).min(axis=1) < step
    look(usable[near & ~np.isin(usable, list(turns))])
    none = np.zeros_like(turns[shown[0]])
    every = np.sign([turns.get(z, none) for z in range(len(inside))])
    gap = np.ones((step + 1, 1, 1))
    least = np.ones((max(LEAST_SLICES, math.ceil(LEAST_MM / slice_mm)), 1, 1))
    ends: list[int] = []
    for way in (1, -1):
        there = ndimage.maximum_filter(every == way, (1, RING_CELLS + 1, RING_CELLS + 1))
        lasting = ndimage.binary_opening(ndimage.binary_closing(there, gap), least)
        found = ndimage.find_objects(ndimage.label(lasting)[0])
        ends += [(where[0].start + where[0].stop - 1) // 2 for where in found]
    return tuple(sorted(ends))


def _turns(
    tissue: NDArray[np.bool_], radians: FloatArray, spacing_mm: tuple[float, ...]
) -> NDArray[np.int8]:
    """Say how often the phase turns around each corner of four cells of a slice; 0 if unsure."""
    cell = [max(1, round(CELL_MM / side)) for side in spacing_mm]
    share, real, imaginary = (
        _means(part, cell) for part in (tissue, tissue * np.cos(radians), tissue * np.sin(radians))
    )
    mean = real + 1j * imaginary
    sound = (share >= LEAST_TISSUE) & (np.abs(mean) >= LEAST_COHERENT * share)
    right, down = (np.angle(b * a.conj()) for a, b in (
        (mean[:, :-1], mean[:, 1:]), (mean[:-1], mean[1:])))  # fmt: skip
    turn = (right[:-1] + down[:, 1:] - right[1:] - down[:, :-1]) / (2 * np.pi)
    # The turns inside a ring add up to the turn along it.
    inner = RING_CELLS - 1
    along = ndimage.convolve(np.rint(turn), np.ones((inner, inner)), mode="constant")
    ring = np.ones((RING_CELLS, RING_CELLS), bool)
    ring[1:-1, 1:-1] = False
    whole = ndimage.minimum_filter(sound, footprint=ring, mode="constant", origin=-1)
    result: NDArray[np.int8] = np.where(whole[:-1, :-1], along, 0).astype(np.int8)
    return result


def _means(values: NDArray[Any], cell: list[int]) -> NDArray[np.float64]:
    """Means of whole cells; what is left at the end of an axis belongs to none."""
    rows, columns = (size // side for size, side in zip(values.shape, cell, strict=True))
    cut = values[: rows * cell[0], : columns * cell[1]]
    result: NDArray[np.float64] = cut.reshape(rows, cell[0], columns, cell[1]).mean(axis=(1, 3))
    return result
