"""The rules that decide which candidates are microbleeds, each with its reason in words.

The defaults are conservative: apart from the size rule, which is the definition of what is
counted, a rule removes only what no microbleed looks like.

References:
    Greenberg et al. 2009, Lancet Neurology, doi:10.1016/S1474-4422(09)70013-4: microbleeds are
    round or ovoid, 2-10 mm, surrounded by brain, and distinct from vessels seen end-on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from cmbnet.errors import UsageError
from cmbnet.lesions.evidence import Evidence
from cmbnet.lesions.lesion import Lesion, SizeClass
from cmbnet.lesions.measure import Component
from cmbnet.lesions.sizes import (
    BOUNDARY_TOLERANCE_MM,
    LARGE_FROM_MM,
    LARGEST_MM,
    SMALLEST_MM,
    exceeds,
    reaches,
)


@dataclass(frozen=True, slots=True)
class LesionRules:
    """Thresholds of `find_lesions`.

    Args:
        pixel_threshold: A voxel is part of a candidate from this probability on, in (0, 1].
        outline_share: Of a candidate, the voxels from this share of its highest probability on
            are kept, 0 to 1; 0 keeps all. The share is halved where all pieces of what the pixel
            threshold finds would else be shorter than `min_diameter_mm`.
        min_score: Candidates of a lower score are removed, 0 to 1.
        score: The lesion's score where there is no `evidence`: the "mean" or the "max" of its
            probability.
        evidence: Makes the score of all that is known of a candidate.
        min_diameter_mm: Smallest maximum in-plane diameter that counts; it counts itself.
        large_from_mm: Diameter from which on a lesion is "large".
        max_diameter_mm: Largest diameter that counts; it counts itself.
        min_volume_mm3: Smallest volume.
        max_elongation: Longest over middle axis, above which a candidate is a vein seen along
            its course. Asked only where the longest axis is more than `TRUSTED_VOXELS` of the
            longest voxel side, for on thick slices even a ball looks like a tube.
        max_z_ratio: A candidate that surely spans more than this many in-plane diameters across
            the slices is a vein that crosses them. Surely spanned are the slices between the
            first and the last, which partial volume may have added.
        max_continuation_mm: A candidate of less than `large_from_mm` whose dark structure reaches
            further than this beyond it is a piece of a vein (`cmbnet.lesions.surroundings`); None
            does not ask.
        max_outside_brain: Largest fraction of voxels outside the brain mask.
        border_mm: Nearer than this to the border of the brain, the score is multiplied by
            `border_factor`.
        border_factor: 1 leaves scores as they are.

    Raises:
        UsageError: If a value is out of its range.
    """

    pixel_threshold: float = 0.5
    outline_share: float = 0.0
    min_score: float = 0.0
    score: Literal["mean", "max"] = "mean"
    evidence: Evidence | None = None
    min_diameter_mm: float = SMALLEST_MM
    large_from_mm: float = LARGE_FROM_MM
    max_diameter_mm: float = LARGEST_MM
    min_volume_mm3: float = 1.0
    max_elongation: float = 4.0
    max_z_ratio: float = 2.5
    max_continuation_mm: float | None = None
    max_outside_brain: float = 0.25
    border_mm: float = 2.0
    border_factor: float = 1.0

    def __post_init__(self) -> None:
        for name in ("min_score", "outline_share", "max_outside_brain", "border_factor"):
            self._require(0 <= getattr(self, name) <= 1, f"{name} from 0 to 1", name)
        self._require(0 < self.pixel_threshold <= 1, "pixel_threshold in (0, 1]", "pixel_threshold")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)):
                self._require(value >= 0, f"{field.name} >= 0", field.name)
        self._require(self.score in ("mean", "max"), 'score "mean" or "max"', "score")
        self._require(
            self.min_diameter_mm <= self.large_from_mm <= self.max_diameter_mm,
            "min_diameter_mm <= large_from_mm <= max_diameter_mm",
            "large_from_mm",
        )

    def _require(self, holds: bool, what: str, name: str) -> None:
        if not holds:
            raise UsageError(f"lesion rules require {what}, got {getattr(self, name)!r}")


TRUSTED_VOXELS = 4.0
"""Elongation is asked for axes longer than this many of the longest voxel side."""


def size_class(diameter_mm: float, rules: LesionRules) -> SizeClass:
    """Class by maximum in-plane diameter.

    Examples:
        >>> [size_class(d, LesionRules()) for d in (1.9, 2.0, 4.9, 5.0, 10.0, 10.1)]
        ['outside', 'small', 'small', 'large', 'large', 'outside']
    """
    if is_too_short(diameter_mm, rules) or exceeds(diameter_mm, rules.max_diameter_mm):
        return "outside"
    return "large" if reaches(diameter_mm, rules.large_from_mm) else "small"


def is_small(component: Component, rules: LesionRules) -> bool:
    """Whether it would be of the class "small", however small."""
    return not reaches(component.max_in_plane_diameter_mm, rules.large_from_mm)


def is_too_short(diameter_mm: float, rules: LesionRules) -> bool:
    """Whether it is shorter than the smallest lesion that counts."""
    return not reaches(diameter_mm, rules.min_diameter_mm)


def size_reason(component: Component, rules: LesionRules) -> str | None:
    """Why the size excludes a component, or None."""
    diameter = component.max_in_plane_diameter_mm
    if is_too_short(diameter, rules):
        return f"diameter {diameter:.2f} mm is below {rules.min_diameter_mm:g} mm"
    if exceeds(diameter, rules.max_diameter_mm):
        return f"diameter {diameter:.2f} mm is above {rules.max_diameter_mm:g} mm"
    if component.volume_mm3 < rules.min_volume_mm3 - BOUNDARY_TOLERANCE_MM:
        return f"volume {component.volume_mm3:.2f} mm3 is below {rules.min_volume_mm3:g} mm3"
    return None


def shape_reason(
    component: Component, rules: LesionRules, *, slice_mm: float, longest_side_mm: float
) -> str | None:
    """Why the shape excludes a component, or None.

    Args:
        component: What was measured.
        rules: The thresholds.
        slice_mm: Distance of neighbouring slices.
        longest_side_mm: Longest side of a voxel.
    """
    sure_mm = component.z_extent_mm - 2 * slice_mm
    diameter = component.max_in_plane_diameter_mm
    if sure_mm > rules.max_z_ratio * diameter:
        return (
            f"vein-like: runs {component.z_extent_mm:.1f} mm across the slices "
            f"with a diameter of {diameter:.1f} mm in them"
        )
    if (
        component.elongation > rules.max_elongation
        and component.axes_mm[0] > TRUSTED_VOXELS * longest_side_mm
    ):
        longest, middle, _ = component.axes_mm
        return (
            f"vein-like: {longest:.1f} mm long and {middle:.1f} mm wide, "
            f"elongation {component.elongation:.1f} is above {rules.max_elongation:g}"
        )
    return None


def continuation_reason(continuation_mm: float | None, rules: LesionRules) -> str | None:
    """Why what a candidate lies in excludes it, or None.

    Args:
        continuation_mm: How far that reaches beyond it; None if nobody looked.
        rules: The thresholds.
    """
    limit = rules.max_continuation_mm
    if continuation_mm is not None and limit is not None and continuation_mm > limit:
        return (
            f"vein-like: the dark structure goes on for {continuation_mm:.1f} mm beyond it, "
            f"{limit:g} mm are allowed"
        )
    return None


def border_reason(outside_brain: float | None, rules: LesionRules) -> str | None:
    """Why the place excludes a candidate, or None.

    Args:
        outside_brain: Fraction of its voxels outside the brain mask, or None without a mask.
        rules: The thresholds.
    """
    if outside_brain is not None and outside_brain > rules.max_outside_brain:
        return (
            f"{outside_brain:.0%} of it is outside the brain, "
            f"{rules.max_outside_brain:.0%} is allowed"
        )
    return None


def lesion_score(lesion: Lesion, rules: LesionRules) -> float:
    """What the score threshold is compared with, 0 to 1.

    Args:
        lesion: A candidate with its probabilities and, where they are known, its continuation and
            its distance from the border; its own `score` is not read.
        rules: The thresholds.
    """
    if rules.evidence is not None:
        score = rules.evidence.score(lesion)
    else:
        score = lesion.mean_probability if rules.score == "mean" else lesion.max_probability
    border_mm = lesion.border_distance_mm
    near = border_mm is not None and border_mm < rules.border_mm
    return score * (rules.border_factor if near else 1.0)


def score_reason(score: float, rules: LesionRules) -> str | None:
    """Why the score excludes a candidate, or None."""
    if score < rules.min_score:
        return f"score {score:.3f} is below {rules.min_score:.3f}"
    return None
