"""The rule of size: what is counted is 2 to 10 mm long in its slices."""

from __future__ import annotations

from cmbnet.lesions.lesion import Lesion
from cmbnet.lesions.rules.rule import Rule
from cmbnet.lesions.rules.thresholds import LesionRules, is_too_short
from cmbnet.lesions.sizes import BOUNDARY_TOLERANCE_MM, exceeds


def _reason(lesion: Lesion, rules: LesionRules) -> str | None:
    diameter = lesion.max_in_plane_diameter_mm
    if is_too_short(diameter, rules):
        return f"diameter {diameter:.2f} mm is below {rules.min_diameter_mm:g} mm"
    if exceeds(diameter, rules.max_diameter_mm):
        return f"diameter {diameter:.2f} mm is above {rules.max_diameter_mm:g} mm"
    if lesion.volume_mm3 < rules.min_volume_mm3 - BOUNDARY_TOLERANCE_MM:
        return f"volume {lesion.volume_mm3:.2f} mm3 is below {rules.min_volume_mm3:g} mm3"
    return None


SIZE = Rule("size", "size", _reason)
