"""The rule of place: a microbleed lies in the brain."""

from __future__ import annotations

from cmbnet.lesions.lesion import Lesion
from cmbnet.lesions.rules.rule import Rule
from cmbnet.lesions.rules.thresholds import LesionRules


def _reason(lesion: Lesion, rules: LesionRules) -> str | None:
    outside = lesion.outside_brain
    if outside is not None and outside > rules.max_outside_brain:
        return f"{outside:.0%} of it is outside the brain, {rules.max_outside_brain:.0%} is allowed"
    return None


BORDER = Rule("border", "border", _reason, surroundings=True)
