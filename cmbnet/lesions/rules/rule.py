"""`Rule`: one reason for which a candidate is no microbleed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cmbnet.lesions.lesion import Lesion, Stage
from cmbnet.lesions.rules.thresholds import LesionRules


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason for which a candidate is no microbleed.

    Args:
        name: A name that no other rule has.
        stage: The stage under which results count the candidates that it excludes.
        reason: A function of a measured candidate and the thresholds. It returns the reason in
            words if the candidate is excluded, else None.
        surroundings: Whether the rule needs the surroundings of the candidate, or the score that
            rests on them. They are measured only if the other rules keep the candidate.
    """

    name: str
    stage: Stage
    reason: Callable[[Lesion, LesionRules], str | None]
    surroundings: bool = False
