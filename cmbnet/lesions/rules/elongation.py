"""The rule of veins that are seen along their course: long and thin."""

from __future__ import annotations

from cmbnet.lesions.lesion import Lesion
from cmbnet.lesions.rules.rule import Rule
from cmbnet.lesions.rules.thresholds import LesionRules

TRUSTED_VOXELS = 4.0
"""Elongation is asked for axes longer than this many of the longest voxel side."""


def _reason(lesion: Lesion, rules: LesionRules) -> str | None:
    longest, middle, _ = lesion.axes_mm
    if (
        lesion.elongation > rules.max_elongation
        and longest > TRUSTED_VOXELS * lesion.longest_voxel_side_mm
    ):
        return (
            f"vein-like: {longest:.1f} mm long and {middle:.1f} mm wide, "
            f"elongation {lesion.elongation:.1f} is above {rules.max_elongation:g}"
        )
    return None


ELONGATION = Rule("elongation", "shape", _reason)
