"""The thresholds of the lesion rules, and the size classes that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from cmbnet.errors import UsageError
from cmbnet.lesions.lesion import SizeClass
from cmbnet.lesions.score_model import ScoreModel
from cmbnet.lesions.sizes import LARGE_FROM_MM, LARGEST_MM, SMALLEST_MM, exceeds, reaches


@dataclass(frozen=True, slots=True)
class LesionRules:
    """Thresholds of `find_lesions`.

    Args:
        pixel_threshold: Smallest probability of a voxel of a candidate, in (0, 1].
        outline_share: A candidate keeps the voxels from this share of its highest probability on,
            0 to 1. With 0 it keeps all. The share is halved if all pieces would otherwise be
            shorter than `min_diameter_mm`.
        min_score: Smallest score of a lesion, 0 to 1.
        score: The score if there is no `evidence`: the "mean" or the "max" of the probability.
        evidence: The fitted model of the score, or None. (``bundle.json`` has this name.)
        min_diameter_mm: Smallest maximum in-plane diameter that counts.
        large_from_mm: Smallest diameter of a "large" lesion.
        max_diameter_mm: Largest diameter that counts. A candidate that surely spans more than this
            across the slices is no microbleed either.
        min_volume_mm3: Smallest volume.
        max_elongation: Largest ratio of the longest to the middle axis. A candidate with more is a
            vein seen along its course. The rule applies only if the longest axis is more than four
            times the longest voxel side, because on thick slices even a ball looks like a tube.
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
        in_tissue: Whether the score is multiplied by the share of brain tissue at the place of the
            candidate in the template head, where that is known (`cmbnet.regions`).

    Raises:
        UsageError: If a value is out of its range.
    """

    pixel_threshold: float = 0.5
    outline_share: float = 0.0
    min_score: float = 0.0
    score: Literal["mean", "max"] = "mean"
    evidence: ScoreModel | None = None
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
    in_tissue: bool = False

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


def size_class(diameter_mm: float, rules: LesionRules) -> SizeClass:
    """Return the class of a maximum in-plane diameter.

    Examples:
        >>> [size_class(d, LesionRules()) for d in (1.9, 2.0, 4.9, 5.0, 10.0, 10.1)]
        ['outside', 'small', 'small', 'large', 'large', 'outside']
    """
    if is_too_short(diameter_mm, rules) or exceeds(diameter_mm, rules.max_diameter_mm):
        return "outside"
    return "large" if reaches(diameter_mm, rules.large_from_mm) else "small"


def is_small(diameter_mm: float, rules: LesionRules) -> bool:
    """Return whether a diameter is below that of a large lesion."""
    return not reaches(diameter_mm, rules.large_from_mm)


def is_too_short(diameter_mm: float, rules: LesionRules) -> bool:
    """Return whether a diameter is below that of the smallest lesion that counts."""
    return not reaches(diameter_mm, rules.min_diameter_mm)
