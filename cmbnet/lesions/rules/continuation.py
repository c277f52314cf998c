"""The rule of pieces of veins: the dark structure goes on beyond the candidate."""

from __future__ import annotations

from cmbnet.lesions.lesion import Lesion
from cmbnet.lesions.rules.rule import Rule
from cmbnet.lesions.rules.thresholds import LesionRules


def _reason(lesion: Lesion, rules: LesionRules) -> str | None:
    beyond_mm, limit = lesion.continuation_mm, rules.max_continuation_mm
    if beyond_mm is not None and limit is not None and beyond_mm > limit:
        return (
            f"vein-like: the dark structure goes on for {beyond_mm:.1f} mm beyond it, "
            f"{limit:g} mm are allowed"
        )
    return None


CONTINUATION = Rule("continuation", "shape", _reason, surroundings=True)
