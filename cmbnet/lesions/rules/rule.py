"""`Rule`: one reason for which a candidate is no microbleed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cmbnet.lesions.lesion import Lesion, Stage
from cmbnet.lesions.rules.thresholds import LesionRules


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason for which a candidate is no microbleed."""

    name: str  # A name that no other rule has
    stage: Stage  # The stage under which results count the candidates that it excludes
    # A function of a measured candidate and the thresholds. It returns the reason in words if the
    # candidate is excluded, else None.
    reason: Callable[[Lesion, LesionRules], str | None]
    # Whether the rule needs the surroundings of the candidate, or the score that rests on them.
    # They are measured only if the other rules keep the candidate.
    surroundings: bool = False
