"""Regions of the Microbleed Anatomical Rating Scale (MARS), and where a lesion lies.

References:
    Gregoire et al. 2009, Neurology, doi:10.1212/WNL.0b013e3181c34a7d: the scale.
    Charidimou et al. 2022, Lancet Neurol 21:714: strictly lobar; the cerebellum counts as neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

REGIONS: Final = (
    "brainstem", "cerebellum", "basal ganglia", "thalamus", "internal capsule",
    "external capsule", "corpus callosum", "deep white matter", "frontal", "parietal", "temporal",
    "occipital", "insula",
)  # fmt: skip
"""The 13 regions in the order of their numbers in the template. Deep white matter includes the
periventricular."""

Group = Literal["lobar", "deep", "infratentorial", "unknown"]
Side = Literal["left", "right", "midline", "unknown"]
Pattern = Literal["none", "strictly lobar", "strictly deep", "mixed", "other", "unknown"]

MIDLINE_MM: Final = 2.0
"""Nearer to the middle than this no side is stated."""

FARTHEST_MM: Final = 20.0
"""Largest stated margin."""


PARTS: Final = {
    "caudate": "basal ganglia", "putamen": "basal ganglia", "pallidus": "basal ganglia",
    "capsule": "internal capsule",
}  # fmt: skip
"""Names of parts of regions in tables of true lesions, such as those of the phantom."""


def scale_name(region: str) -> str:
    """Return the region of the scale that a region is a part of, or the region as it is."""
    return PARTS.get(region, region)


def group_of(region: str) -> Group:
    """Return the group of a region, by its name.

    Examples:
        >>> [group_of(name) for name in ("insula", "thalamus", "cerebellum", "unknown")]
        ['lobar', 'deep', 'infratentorial', 'unknown']
    """
    if region not in REGIONS:
        return "unknown"
    number = REGIONS.index(region)
    return "infratentorial" if number < 2 else "deep" if number < 8 else "lobar"


def pattern_of(regions: list[str]) -> Pattern:
    """Return the pattern of all lesions of a scan, by their regions.

    Lesions of the cerebellum alone are ``"other"``: they are neither lobar nor deep. Those of the
    brainstem are deep. An unknown region leaves only a mixed pattern certain.

    Examples:
        >>> pattern_of([]), pattern_of(["frontal", "cerebellum"]), pattern_of(["cerebellum"])
        ('none', 'strictly lobar', 'other')
        >>> pattern_of(["frontal", "brainstem", "unknown"]), pattern_of(["frontal", "unknown"])
        ('mixed', 'unknown')
    """
    lobar = any(group_of(region) == "lobar" for region in regions)
    deep = any(group_of(region) == "deep" or region == "brainstem" for region in regions)
    if lobar and deep:
        return "mixed"
    if any(region not in REGIONS for region in regions):
        return "unknown"
    if lobar or deep:
        return "strictly lobar" if lobar else "strictly deep"
    return "other" if regions else "none"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a lesion lies, approximately.

    Args:
        region: One of `REGIONS`, or ``"unknown"`` outside the template or without an alignment.
        side: Side of the patient.
        group: Group of the region.
        margin_mm: Distance to the next other region, at most `FARTHEST_MM`. None if unknown.
        group_margin_mm: Distance to the next other group, likewise.
        mni_mm: Position in MNI space, right, anterior, superior. None without an alignment.
        tissue: Share of grey and white matter at that position of the template, 0 to 1. The rest is
            fluid or lies outside the brain. None without an alignment.
    """

    region: str = "unknown"
    side: Side = "unknown"
    group: Group = "unknown"
    margin_mm: float | None = None
    group_margin_mm: float | None = None
    mni_mm: tuple[float, float, float] | None = None
    tissue: float | None = None


UNKNOWN: Final = Place()


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Regions on a regular grid of MNI space.

    Args:
        labels: (z, y, x) uint8, number of the region, 0 for none.
        origin_mm: Position (z, y, x) of cell (0, 0, 0).
        cell_mm: Size of a cell.
    """

    labels: NDArray[np.uint8]
    origin_mm: NDArray[np.float64]
    cell_mm: float

    def place(self, point_mm: NDArray[np.floating]) -> Place:
        """Return the place of an MNI position (superior, anterior, right) in mm."""
        superior, anterior, right = (float(mm) for mm in point_mm)
        mni = (right, anterior, superior)
        number = int(self.numbers(point_mm[None])[0])
        if number == 0:
            return Place(mni_mm=mni)
        groups = np.array([0, *(1 + _GROUPS.index(group_of(name)) for name in REGIONS)])
        around, distance_mm = self._around(point_mm)
        region = REGIONS[number - 1]
        return Place(
            region=region,
            side="midline" if abs(right) < MIDLINE_MM else "right" if right > 0 else "left",
            group=group_of(region),
            margin_mm=self._margin(around != number, distance_mm),
            group_margin_mm=self._margin(groups[around] != groups[number], distance_mm),
            mni_mm=mni,
        )

    def numbers(self, points_mm: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Number of the region at positions (n, 3), superior, anterior, right; 0 outside."""
        index = np.rint((points_mm - self.origin_mm) / self.cell_mm).astype(int)
        inside = np.all((index >= 0) & (index < self.labels.shape), axis=1)
        found: NDArray[np.uint8] = self.labels[tuple(np.where(inside[:, None], index, 0).T)]
        return np.where(inside, found, 0).astype(np.uint8)

    def _around(
        self, point_mm: NDArray[np.floating]
    ) -> tuple[NDArray[np.uint8], NDArray[np.floating]]:
        """The labels near a position, and how far they are from it."""
        reach = FARTHEST_MM / self.cell_mm
        index = (point_mm - self.origin_mm) / self.cell_mm
        start = np.maximum(np.ceil(index - reach), 0).astype(int)
        stop = np.minimum(np.floor(index + reach) + 1, self.labels.shape).astype(int)
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        axes = np.ogrid[box]
        square = sum((axis - at) ** 2 for axis, at in zip(axes, index, strict=True))
        return self.labels[box], np.sqrt(square) * self.cell_mm

    def _margin(self, other: NDArray[np.bool_], distance_mm: NDArray[np.floating]) -> float:
        """Distance to the border of the nearest other cell."""
        nearest = float(distance_mm[other].min(initial=np.inf)) - self.cell_mm / 2
        return round(min(max(nearest, 0.0), FARTHEST_MM), 1)


_GROUPS: Final = ("lobar", "deep", "infratentorial")
