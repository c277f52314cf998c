"""`lay_on`: the rigid map from a later scan to the first, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import floor
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.regions.register import COARSE_MM, Alignment, Cells, Field, align, average, cells_of

if TYPE_CHECKING:
    from cmbnet.predict import Answer

FIELD_MM: Final = 2.0
ROOM_MM: Final = 16.0
"""Room around the brain of the first scan."""

STIFF: Final = 1e-3
"""How far scale and shear may lie from a rotation: not at all."""

LEAST_OVERLAP: Final = 0.9
LEAST_EXPLAINED: Final = 0.2
"""Below one of these the two scans do not lie on each other."""

SURE: Final = 0.7
"""Less brightness that agrees leaves open whether the heads are one: two scans of one phantom head
0.88 and more, of two heads 0.39 to 0.45, of a head and its mirror image 0.21 to 0.60."""

Points = NDArray[np.floating]


@dataclass(frozen=True)
class RigidMap:
    """How a later scan lies on the first.

    Args:
        alignment: The map from the world of the later scan to that of the first, without scale.
        edge_mm: Median distance of the two brains' surfaces.
        refused: Why it is not good enough, as a sentence; empty if it is.
    """

    alignment: Alignment
    edge_mm: float
    refused: str = ""

    @property
    def matrix(self) -> tuple[tuple[float, float, float, float], ...]:
        """Return the map of `to_first` as a matrix (4, 4)."""
        whole = np.eye(4)
        whole[:3, :3] = self.alignment.matrix[::-1, ::-1]
        whole[:3, 3] = self.alignment.offset_mm[::-1]
        return tuple((a, b, c, d) for a, b, c, d in whole.tolist())

    def to_first(self, points_ras_mm: Points) -> Points:
        """Positions (n, 3) of the later scan in the world of the first; both RAS+."""
        return self.alignment.to_template(points_ras_mm[:, ::-1])[:, ::-1]

    def from_first(self, points_ras_mm: Points) -> Points:
        """Positions (n, 3) of the first scan in the world of the later one; both RAS+."""
        result: Points = (points_ras_mm[:, ::-1] - self.alignment.offset_mm) @ self._inverse.T
        return result[:, ::-1]

    @cached_property
    def _inverse(self) -> Points:
        inverse: Points = np.linalg.inv(self.alignment.matrix)
        return inverse

    @property
    def doubt(self) -> str:
        """Say in a sentence what a reader should check. It is empty if there is nothing."""
        percent = floor(100 * self.alignment.explained)
        said = f"only {percent} % of the brightness agrees: check that the scans are of one person"
        return said if self.alignment.explained < SURE else ""

    @property
    def turn_deg(self) -> float:
        """Angle of the rotation."""
        cosine = (np.trace(self.alignment.matrix) - 1) / 2
        return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))


IDENTITY: Final = RigidMap(Alignment(np.eye(3), np.zeros(3), 1.0, 1.0), 0.0)


def lay_on(first: Answer, later: Answer) -> RigidMap:
    """Lay a later scan on the first.

    Args:
        first: The scan that keeps its place.
        later: The scan that is turned and moved, and nothing else.
    """
    field = field_of(*_seen(first))
    fine = cells_of(*_seen(later))
    coarse = cells_of(*_seen(later), blur_mm=COARSE_MM)
    found = _align(coarse, fine, field)
    left, _, right = np.linalg.svd(found.matrix)
    rotation = left @ right
    offset = found.matrix @ fine.centre_mm + found.offset_mm - rotation @ fine.centre_mm
    rigid = Alignment(rotation, offset, found.overlap, found.explained)
    edge_mm = _edge_mm(field, fine, rigid)
    refused = _why_bad(rigid, edge_mm, max(first.volume.spacing_mm))
    mirrored = _align(_mirrored(coarse), _mirrored(fine), field)
    if mirrored.explained > found.explained and not refused:
        refused = (
            "one of the two scans seems to be mirrored (left and right change places), or they are "
            "of two persons: the mirror image fits better"
        )
    return RigidMap(rigid, edge_mm, refused)


def _align(coarse: Cells, fine: Cells, field: Field) -> Alignment:
    return align(coarse, fine, field, pitches_deg=(0.0,), affine_sd=STIFF, warp=False)


def _mirrored(cells: Cells) -> Cells:
    return replace(cells, points_mm=cells.points_mm * np.array([1, 1, -1]))


def _seen(answer: Answer) -> tuple[Points, NDArray[np.bool_], NDArray[np.float64]]:
    prepared = answer.prepared
    affine = prepared.frame.affine(answer.volume.affine)
    return prepared.image, prepared.brain, affine


def field_of(image: Points, brain: NDArray[np.bool_], affine: Points) -> Field:
    """Share of brain and brightness of a scan on a grid of 2 mm along the axes of the world.

    Args:
        image: (z, y, x) brightness.
        brain: Mask of the same shape.
        affine: (4, 4), index (z, y, x, 1) to RAS+ mm.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    factors = np.maximum(1, np.round(FIELD_MM / spacing)).astype(int)
    share, bright = (average(part, factors) for part in (brain, image * brain))
    median = float(np.median((bright / np.maximum(share, 1e-3))[share > 0.5 * share.max()]))
    to_world = affine.copy()
    to_world[:3, 3] += affine[:3, :3] @ ((factors - 1) / 2)
    to_world[:3, :3] = affine[:3, :3] * factors
    corners = np.argwhere(share > 0.5) @ to_world[:3, :3].T + to_world[:3, 3]
    low, high = corners.min(axis=0)[::-1] - ROOM_MM, corners.max(axis=0)[::-1] + ROOM_MM
    shape = np.ceil((high - low) / FIELD_MM).astype(int) + 1
    inverse = np.linalg.inv(to_world)
    turn = inverse[:3, 2::-1]  # from superior, anterior, right
    maps = [
        ndimage.affine_transform(
            part, turn * FIELD_MM, turn @ low + inverse[:3, 3], tuple(shape), np.float32, order=1
        )
        for part in (share, bright / max(median, 1e-6))
    ]
    return Field(np.stack([maps[0], maps[1], maps[0]], axis=-1), low, FIELD_MM)


def _edge_mm(field: Field, cells: Cells, found: Alignment) -> float:
    """Median distance of the brains' surfaces, from cells that hold both brain and none."""
    edge = (cells.share > 0.2) & (cells.share < 0.8)
    values, slopes = field.at(found.to_template(cells.points_mm[edge]))
    steep = np.linalg.norm(slopes[:, 0], axis=1)
    seen = steep > 0.05  # per mm; elsewhere the other brain has no edge
    away = np.abs(values[seen, 0] - cells.share[edge][seen]) / steep[seen]
    return float(np.median(away)) if seen.any() else float("inf")


def _why_bad(found: Alignment, edge_mm: float, voxel_mm: float) -> str:
    # Rounded down: what falls short of a limit must not be printed as the limit.
    overlap, explained = (floor(100 * x) / 100 for x in (found.overlap, found.explained))
    faults = [
        (found.overlap < LEAST_OVERLAP, f"overlap of the brains {overlap:g}, "
         f"required {LEAST_OVERLAP:g}"),
        (found.explained < LEAST_EXPLAINED, f"brightness that agrees {explained:g}, "
         f"required {LEAST_EXPLAINED:g}"),
        (edge_mm > voxel_mm, f"edges of the brains {edge_mm:.1f} mm apart, required at most a "
         f"voxel, {voxel_mm:.1f} mm"),
    ]  # fmt: skip
    said = "; ".join(fault for bad, fault in faults if bad)
    return f"the two scans cannot be laid on each other: {said}" if said else ""
