"""`Lesion`, the report on one candidate, and `FoundLesions`, the report on a scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from numpy.typing import NDArray
from pydantic import Field

from cmbnet.regions.places import Place

BORDER_REACH_MM = 10.0
"""Largest reported distance to the border. A deeper place is reported with this distance."""

SizeClass = Literal["small", "large", "outside"]
"""Class of the maximum in-plane diameter. `cmbnet.lesions.sizes` defines the bounds."""

Stage = Literal["size", "shape", "border", "score"]
"""Kinds of rules, in the order of the counts (`cmbnet.lesions.rules`)."""

Call = Literal["paramagnetic", "diamagnetic", "indeterminate"]
"""What phase says of a candidate: blood, calcium, or neither."""

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Lesion:
    """One candidate: a 26-connected group of voxels above the pixel threshold, within its outline.

    Args:
        id: Number by descending score, from 1. Excluded candidates follow the lesions.
        centre_ras_mm: Centre in world coordinates, RAS+.
        voxel_ijk: The lesion's voxel nearest to its centre, in the order of the image file.
        volume_mm3: Volume.
        max_in_plane_diameter_mm: Length in its longest slice (`cmbnet.lesions.measure`).
        equivalent_diameter_mm: Diameter of the ball of the same volume.
        z_extent_mm: Number of slices touched times their distance.
        slices: Number of slices touched.
        elongation: Longest over middle axis, at least 1.
        size_class: "small", "large", or "outside" if the size does not count.
        score: Value from 0 to 1 that is compared with the score threshold.
        mean_probability: Mean of the probability in the component.
        max_probability: Maximum of the probability in the component.
        outside_brain: Fraction of its voxels outside the brain mask; None without a mask.
        border_distance_mm: Distance from its centre voxel to the nearest voxel outside the brain,
            at most `BORDER_REACH_MM`. None without a mask, or if size or shape excluded it.
        bbox: Half-open index ranges along z, y, x.
        continuation_mm: How far its dark structure reaches beyond it. None if the rules do not use
            it, if the candidate is large, or if size or shape excluded it.
        rim_brightness: Brightness of the rim around it, relative to nearby brain, which is 1. None
            if the rules do not use it, or if size or shape excluded it.
        phase: What the phase says of it (`cmbnet.phase`). None without phase, and for candidates
            that were excluded before.
        phase_strength: How much more of the phase around it the other sign leaves unexplained.
        removed_by: The stage that excluded it, "phase" for a possible calcification, or None for a
            lesion.
        reason: The reason in words. Empty for a lesion.
        place: Region, side and group, approximately. None for a candidate that was excluded before
            its place was asked for.
        profile: What lies around it (`cmbnet.lesions.profile.MEASURES`); empty where the rules do
            not ask, or size or shape excluded it. Not written into results.
        axes_mm: Axes of the ellipsoid of equal second moments, longest first. Not written.
        longest_voxel_side_mm: Of the scan. Not written.
    """

    id: int
    centre_ras_mm: Triple
    voxel_ijk: tuple[int, int, int]
    volume_mm3: float
    max_in_plane_diameter_mm: float
    equivalent_diameter_mm: float
    z_extent_mm: float
    slices: int
    elongation: float
    size_class: SizeClass
    score: float
    mean_probability: float
    max_probability: float
    outside_brain: float | None
    border_distance_mm: float | None
    bbox: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    continuation_mm: float | None = None
    rim_brightness: float | None = None
    phase: Call | None = None
    phase_strength: float | None = None
    removed_by: Stage | Literal["phase"] | None = None
    reason: str = ""
    place: Place | None = None
    profile: Annotated[tuple[float, ...], Field(exclude=True)] = ()
    axes_mm: Annotated[Triple, Field(exclude=True)] = (0.0, 0.0, 0.0)
    longest_voxel_side_mm: Annotated[float, Field(exclude=True)] = 0.0

    @property
    def sure_z_extent_mm(self) -> float:
        """Extent across the slices without the first and the last, which partial volume may add."""
        return self.z_extent_mm * (self.slices - 2) / self.slices


@dataclass(frozen=True, slots=True)
class FoundLesions:
    """All lesions and excluded candidates of one scan.

    Args:
        lesions: The lesions by descending score. `id` is the value in `labels`.
        excluded: Candidates that a rule excluded, by descending score.
        stages: Counts in order: candidates, removed_by_size, removed_by_shape,
            removed_by_border, removed_by_score, lesions.
        highest_probability: Highest value of the probability map. It separates a clean scan from a
            scan just under the threshold.
        labels: Instance labels of `lesions` on the grid of the map, uint16, of shape (z, y, x).
        calcified: The same of `calcifications`; None where no phase was used.
    """

    lesions: tuple[Lesion, ...]
    excluded: tuple[Lesion, ...]
    stages: dict[str, int]
    highest_probability: float
    labels: NDArray[Any]
    calcified: NDArray[Any] | None = None

    @property
    def calcifications(self) -> tuple[Lesion, ...]:
        """The excluded candidates that the phase calls diamagnetic."""
        return tuple(one for one in self.excluded if one.removed_by == "phase")
