"""`Lesion`: what is reported about one candidate, kept or excluded; `LesionFinding`: a scan's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from numpy.typing import NDArray
from pydantic import Field

BORDER_REACH_MM = 10.0
"""Distances to the border are looked for this far; what lies deeper is reported as this."""

SizeClass = Literal["small", "large", "outside"]
"""By maximum in-plane diameter; the bounds are those of `cmbnet.lesions.sizes`."""

Stage = Literal["size", "shape", "border", "score"]
"""What the lesion rules look at, in the order of the counts (`cmbnet.lesions.rules`)."""

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Lesion:
    """One candidate: 26-connected, above the pixel threshold, within its outline.

    Args:
        id: 1, 2, ... by descending score; excluded candidates are numbered on after the lesions.
        centre_ras_mm: Centre in world coordinates, RAS+.
        voxel_ijk: The lesion's voxel nearest to its centre, in the order of the image file.
        volume_mm3: Volume.
        max_in_plane_diameter_mm: Length in its longest slice (`cmbnet.lesions.measure`).
        equivalent_diameter_mm: Diameter of the ball of the same volume.
        z_extent_mm: Slices touched times their distance.
        slices: Number of slices touched.
        elongation: Longest over middle axis, at least 1.
        size_class: "small", "large", or "outside" of what is counted.
        score: What the score threshold is compared with, 0 to 1.
        mean_probability: Mean of the probability in the component.
        max_probability: Maximum of it.
        outside_brain: Fraction of its voxels outside the brain mask; None without a mask.
        border_distance_mm: From its centre voxel to the nearest voxel outside the brain, capped
            at `BORDER_REACH_MM`; None without a mask or where size or shape excluded it.
        bbox: Half-open index ranges along z, y, x.
        continuation_mm: How far the dark structure that it lies in reaches beyond it; None where
            the rules do not ask, it is large, or size or shape excluded it.
        rim_brightness: Of the rim around it, against the brain near it, which is 1; None where
            the rules do not ask, or size or shape excluded it.
        removed_by: The stage that excluded it, or None for a lesion.
        reason: Why, in words; empty for a lesion.
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
    removed_by: Stage | None = None
    reason: str = ""
    profile: Annotated[tuple[float, ...], Field(exclude=True)] = ()
    axes_mm: Annotated[Triple, Field(exclude=True)] = (0.0, 0.0, 0.0)
    longest_voxel_side_mm: Annotated[float, Field(exclude=True)] = 0.0

    @property
    def sure_z_extent_mm(self) -> float:
        """Extent across the slices without the first and the last, which partial volume may add."""
        return self.z_extent_mm * (self.slices - 2) / self.slices


@dataclass(frozen=True, slots=True)
class LesionFinding:
    """Everything that was found on one scan.

    Args:
        lesions: By descending score; `id` is the value in `labels`.
        excluded: Candidates that a rule removed, by descending score.
        stages: Counts in order: candidates, removed_by_size, removed_by_shape,
            removed_by_border, removed_by_score, lesions.
        highest_probability: Highest value of the probability map; tells an empty result on a
            clean scan from one just under the threshold.
        labels: Shape (z, y, x), uint16, instance labels of `lesions` on the grid of the map.
    """

    lesions: tuple[Lesion, ...]
    excluded: tuple[Lesion, ...]
    stages: dict[str, int]
    highest_probability: float
    labels: NDArray[Any]
