"""The lesion score: a small network that judges a candidate by its measures.

The mean probability of a candidate says little by itself, because the wide rim of a sure lesion
lowers it. Highest probability, size, shape and surroundings help to tell microbleeds from pieces of
veins. The weights are fitted on labelled scans (`cmbnet.training.choose.score_model`). A score is
the share of similar candidates that were microbleeds there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import UsageError
from cmbnet.lesions.lesion import BORDER_REACH_MM, Lesion
from cmbnet.lesions.profile import MEASURES

SUREST = 1e-4
"""Probabilities are kept at least this far from 0 and 1, so that their logits are finite."""

CONTINUES_MM = 1.5
"""If a dark structure reaches further than this beyond a candidate, it continues."""

LONGEST_CONTINUATION_MM = 8.0
HIGHEST_ELONGATION = 5.0
HIGHEST_Z_RATIO = 4.0

BRIGHT = 1.05
"""A rim that is brighter than this, relative to brain, is not brain. Five in a hundred true
candidates of validation phantoms have a brighter rim."""

BRIGHTEST = 1.45

FURTHEST = 10.0
"""Features are limited to this many standard deviations from their mean. The weights were fitted on
nothing beyond."""

MOST_ODDS = 30.0
"""Limit of the logits. Beyond it the exponential would overflow, and the score hardly changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreModel:
    """A network with one hidden layer of tanh units, or without one (logistic regression).

    Args:
        features: Names of the features that it uses, from `FEATURES`.
        mean: Mean of each feature over the candidates that it was fitted on.
        spread: Standard deviation of each feature, more than 0.
        hidden: For each hidden unit, a weight for each standardised feature and, last, the bias.
            Empty without a hidden layer.
        output: A weight for each hidden unit and, last, the bias. Without a hidden layer, a weight
            for each standardised feature and the bias.

    Raises:
        UsageError: If a feature is unknown, a number is missing or not finite, or a spread not
            positive.
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    hidden: tuple[tuple[float, ...], ...] = ()
    output: tuple[float, ...]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.features) - set(FEATURES))
        if unknown:
            raise UsageError(
                f"features of the lesion score are required ({', '.join(FEATURES)}), got {unknown}"
            )
        count = len(self.features)
        lengths = {len(self.mean), len(self.spread), *(len(unit) - 1 for unit in self.hidden)}
        if lengths != {count} or len(self.output) - 1 != (len(self.hidden) or count):
            raise UsageError(f"weights of the lesion score for {count} features do not fit them")
        numbers = (*self.mean, *self.spread, *self.output, *(w for u in self.hidden for w in u))
        if not all(map(math.isfinite, numbers)) or min(self.spread, default=1.0) <= 0.0:
            raise UsageError("weights of the lesion score must be finite, and spreads positive")

    def score(self, lesion: Lesion) -> float:
        """Return the probability, 0 to 1, that a candidate is a microbleed."""
        hidden, output = np.array(self.hidden), np.array(self.output)
        values = (features(lesion, self.features) - self.mean) / np.array(self.spread)
        # What nobody measured is no evidence.
        values = np.where(np.isnan(values), 0.0, np.clip(values, -FURTHEST, FURTHEST))
        if len(hidden):
            values = np.tanh(hidden[:, :-1] @ values + hidden[:, -1])
        odds = float(output[:-1] @ values + output[-1])
        return 1.0 / (1.0 + math.exp(-min(max(odds, -MOST_ODDS), MOST_ODDS)))


def features(lesion: Lesion, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the features of a candidate by name. Surroundings that were not measured are NaN."""
    return np.array([FEATURES[name](lesion) for name in names], np.float64)


def _logit(probability: float) -> float:
    inside = min(max(probability, SUREST), 1.0 - SUREST)
    return math.log(inside / (1.0 - inside))


def _continuation_mm(lesion: Lesion) -> float:
    """Return the continuation, or 0 if it was not measured (no scan, or a large candidate)."""
    return min(lesion.continuation_mm or 0.0, LONGEST_CONTINUATION_MM)


def _z_ratio(lesion: Lesion) -> float:
    return min(lesion.z_extent_mm / lesion.max_in_plane_diameter_mm, HIGHEST_Z_RATIO)


def _border_mm(lesion: Lesion) -> float:
    """Return the distance to the border, or a deep one if it was not measured."""
    distance_mm = lesion.border_distance_mm
    return BORDER_REACH_MM if distance_mm is None else distance_mm


def _bright_rim(lesion: Lesion) -> float:
    """Return the brightness of a bright rim, or 0 if it was not measured."""
    return min(max((lesion.rim_brightness or 0.0) - BRIGHT, 0.0), BRIGHTEST - BRIGHT)


def _measured(lesion: Lesion, index: int) -> float:
    return lesion.profile[index] if lesion.profile else math.nan


OWN: dict[str, Callable[[Lesion], float]] = {
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
"""Features of the candidate itself, from the probability map and its nearest surroundings."""

FEATURES: dict[str, Callable[[Lesion], float]] = OWN | {
    name: partial(_measured, index=index) for index, name in enumerate(MEASURES)
}
"""Names of all features that a score may use: `OWN`, and `cmbnet.lesions.profile.MEASURES`."""
