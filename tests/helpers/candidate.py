"""A candidate and learned scores, for tests to vary."""

from __future__ import annotations

import math

from cmbnet.lesions import Lesion
from cmbnet.lesions.profile import MEASURES
from cmbnet.lesions.score_model import ScoreModel


def weighing(intercept: float = 0.0, **weights: float) -> ScoreModel:
    """A logistic regression on features as they are."""
    return ScoreModel(
        features=tuple(weights),
        mean=(0.0,) * len(weights),
        spread=(1.0,) * len(weights),
        output=(*weights.values(), intercept),
    )


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
    profile=tuple(n / len(MEASURES) for n in range(len(MEASURES))),
)
