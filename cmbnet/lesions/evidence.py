"""How sure it is that a candidate is a microbleed: a logistic regression on what was measured.

The mean probability of a candidate says little by itself: the wide rim of a sure lesion lowers it.
Together with the highest probability, size, shape and what the candidate lies in it tells
microbleeds from pieces of veins. The weights are fitted on validation scans
(`cmbnet.training.score_model`), so a score is the share of candidates like this one that were
microbleeds there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

from cmbnet.errors import UsageError
from cmbnet.lesions.lesion import BORDER_REACH_MM, Lesion

SUREST = 1e-4
"""Probabilities are taken this far from 0 and 1 at least: their logits must be finite."""

CONTINUES_MM = 1.5
"""A dark structure that reaches further than this beyond a candidate goes on."""

LONGEST_CONTINUATION_MM = 8.0
HIGHEST_ELONGATION = 5.0
HIGHEST_Z_RATIO = 4.0

BRIGHT = 1.05
"""A rim brighter than this against brain is no brain: five in a hundred true candidates of
validation phantoms lie in a brighter one."""

BRIGHTEST = 1.45


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Weights of the logistic regression, one for each feature of `FEATURES`.

    Args:
        intercept: Log odds where all features are 0.
        mean_logit: Per unit of the logit of the mean probability.
        max_logit: Per unit of the logit of the highest probability.
        log_volume: Per natural logarithm of the volume in mm3.
        log_diameter: Per natural logarithm of the maximum in-plane diameter in mm.
        continuation_mm: Per mm that the dark structure reaches beyond the candidate.
        continues: If it reaches beyond it at all (`CONTINUES_MM`).
        elongation: Per unit of the longest over the middle axis.
        z_ratio: Per unit of the extent across the slices over the diameter.
        border_mm: Per mm of distance to the border of the brain.
        bright_rim: Per unit by which the rim around it is brighter than brain: calcifications lie
            in fluid, which is bright where the repetition time is long. Bundles from before it
            was measured do not weigh it.

    Raises:
        UsageError: If a weight is not finite.
    """

    intercept: float
    mean_logit: float
    max_logit: float
    log_volume: float
    log_diameter: float
    continuation_mm: float
    continues: float
    elongation: float
    z_ratio: float
    border_mm: float
    bright_rim: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not math.isfinite(getattr(self, field.name)):
                raise UsageError(f"weights of the lesion score must be finite, got {self}")

    def score(self, lesion: Lesion) -> float:
        """Probability, 0 to 1, that a candidate is a microbleed."""
        odds = self.intercept + math.fsum(
            getattr(self, name) * value for name, value in features(lesion).items()
        )
        # Far from 0 the exponential would overflow, and nothing changes any more.
        return 1.0 / (1.0 + math.exp(-min(max(odds, -30.0), 30.0)))


def features(lesion: Lesion) -> dict[str, float]:
    """What the score of a candidate depends on, by the name of its weight."""
    return {name: measure(lesion) for name, measure in FEATURES.items()}


def _logit(probability: float) -> float:
    inside = min(max(probability, SUREST), 1.0 - SUREST)
    return math.log(inside / (1.0 - inside))


def _continuation_mm(lesion: Lesion) -> float:
    """0 where nobody looked: without the scan, and for large candidates."""
    return min(lesion.continuation_mm or 0.0, LONGEST_CONTINUATION_MM)


def _z_ratio(lesion: Lesion) -> float:
    return min(lesion.z_extent_mm / lesion.max_in_plane_diameter_mm, HIGHEST_Z_RATIO)


def _border_mm(lesion: Lesion) -> float:
    """Deep where nobody looked."""
    distance_mm = lesion.border_distance_mm
    return BORDER_REACH_MM if distance_mm is None else distance_mm


def _bright_rim(lesion: Lesion) -> float:
    """0 where nobody looked."""
    return min(max((lesion.rim_brightness or 0.0) - BRIGHT, 0.0), BRIGHTEST - BRIGHT)


FEATURES: dict[str, Callable[[Lesion], float]] = {
    "mean_logit": lambda lesion: _logit(lesion.mean_probability),
    "max_logit": lambda lesion: _logit(lesion.max_probability),
    "log_volume": lambda lesion: math.log(lesion.volume_mm3),
    "log_diameter": lambda lesion: math.log(lesion.max_in_plane_diameter_mm),
    "continuation_mm": _continuation_mm,
    "continues": lambda lesion: float(_continuation_mm(lesion) > CONTINUES_MM),
    "elongation": lambda lesion: min(lesion.elongation, HIGHEST_ELONGATION),
    "z_ratio": _z_ratio,
    "border_mm": _border_mm,
    "bright_rim": _bright_rim,
}
