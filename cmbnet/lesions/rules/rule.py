"""What a lesion rule is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cmbnet.lesions.lesion import Lesion, Stage
from cmbnet.lesions.rules.thresholds import LesionRules


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason for which a candidate is no microbleed.

    Args:
        name: Unlike that of any other rule.
        stage: Under which results count what it excludes.
        reason: Of a measured candidate and the thresholds: why it is excluded, in words, or None.
        surroundings: Whether the rule looks at what lies around the candidate, or at the score
            that is made of it. This is measured only of candidates that the other rules keep.
    """

    name: str
    stage: Stage
    reason: Callable[[Lesion, LesionRules], str | None]
    surroundings: bool = False
