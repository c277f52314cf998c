"""How sure it is that a candidate is a microbleed: a small network on what was measured.

The mean probability of a candidate says little by itself: the wide rim of a sure lesion lowers it.
Together with the highest probability, size, shape and what the candidate lies in it tells
microbleeds from pieces of veins. The weights are fitted on labelled scans
(`cmbnet.training.choose.score_model`), so a score is the share of candidates like this one that
were microbleeds there.
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

FURTHEST = 10.0
"""No feature counts as further from its mean than so many standard deviations: what lies beyond
is nothing that the weights were fitted on."""

MOST_ODDS = 30.0
"""Far from 0 the exponential would overflow, and nothing changes any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A network with one hidden layer of tanh units, or with none: logistic regression.

    Args:
        features: Names of what it looks at, of `FEATURES`.
        mean: Of each feature on the candidates that it was fitted on.
        spread: Standard deviation of each, over 0.
        hidden: Of each hidden unit, a weight for each standardised feature and, last, the bias;
            empty without a hidden layer.
        output: A weight for each hidden unit, without any for each standardised feature, and,
            last, the bias.

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
        """Probability, 0 to 1, that a candidate is a microbleed."""
        hidden, output = np.array(self.hidden), np.array(self.output)
        values = (features(lesion, self.features) - self.mean) / np.array(self.spread)
        # What nobody measured is no evidence.
        values = np.where(np.isnan(values), 0.0, np.clip(values, -FURTHEST, FURTHEST))
        if len(hidden):
            values = np.tanh(hidden[:, :-1] @ values + hidden[:, -1])
        odds = float(output[:-1] @ values + output[-1])
        return 1.0 / (1.0 + math.exp(-min(max(odds, -MOST_ODDS), MOST_ODDS)))


def features(lesion: Lesion, names: Sequence[str]) -> NDArray[np.float64]:
    """What is known of a candidate, by name; NaN for surroundings that nobody looked at."""
    return np.array([FEATURES[name](lesion) for name in names], np.float64)


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
"""What a candidate is, from the map of probabilities and its nearest surroundings."""

FEATURES: dict[str, Callable[[Lesion], float]] = OWN | {
    name: partial(_measured, index=index) for index, name in enumerate(MEASURES)
}
"""By name, all that a score may look at: `OWN`, and `cmbnet.lesions.profile.MEASURES`."""
