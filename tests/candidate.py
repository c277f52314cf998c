"""A candidate and weights of the learned score, for tests to vary."""

from __future__ import annotations

import math
from dataclasses import fields

from cmbnet.lesions import Lesion
from cmbnet.lesions.evidence import Evidence

NOTHING = {field.name: 0.0 for field in fields(Evidence)}

CANDIDATE = Lesion(
    id=0,
    centre_ras_mm=(0.0, 0.0, 0.0),
    voxel_ijk=(0, 0, 0),
    volume_mm3=math.e**2,
    max_in_plane_diameter_mm=4.0,
    equivalent_diameter_mm=3.0,
    z_extent_mm=6.0,
    slices=3,
    elongation=1.2,
    size_class="small",
    score=0.0,
    mean_probability=0.5,
    max_probability=0.9,
    outside_brain=0.0,
    border_distance_mm=7.0,
    bbox=((0, 1), (0, 1), (0, 1)),
    continuation_mm=2.0,
    rim_brightness=1.25,
)
