"""The rule of 3D size: a microbleed is at most 10 mm long across the slices, too.

A venous sinus seen end-on can be of the size of a microbleed in each slice.
"""

from __future__ import annotations

from cmbnet.lesions.lesion import Lesion
from cmbnet.lesions.rules.rule import Rule
from cmbnet.lesions.rules.thresholds import LesionRules
from cmbnet.lesions.sizes import exceeds


def _reason(lesion: Lesion, rules: LesionRules) -> str | None:
    if exceeds(lesion.sure_z_extent_mm, rules.max_diameter_mm):
        return (
            f"{lesion.z_extent_mm:.3g} mm long across the slices; "
            f"a microbleed is at most {rules.max_diameter_mm:g} mm"
        )
    return None


SPAN = Rule("span", "size", _reason)
