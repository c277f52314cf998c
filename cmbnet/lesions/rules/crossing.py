"""The rule of veins that cross the slices: long across them, thin in them."""

from __future__ import annotations

from cmbnet.lesions.lesion import Lesion
from cmbnet.lesions.rules.rule import Rule
from cmbnet.lesions.rules.thresholds import LesionRules


def _reason(lesion: Lesion, rules: LesionRules) -> str | None:
    diameter = lesion.max_in_plane_diameter_mm
    if lesion.sure_z_extent_mm > rules.max_z_ratio * diameter:
        return (
            f"vein-like: runs {lesion.z_extent_mm:.1f} mm across the slices "
            f"with a diameter of {diameter:.1f} mm in them"
        )
    return None


CROSSING = Rule("crossing", "shape", _reason)
