"""The learned score of a candidate."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmbnet.errors import UsageError
from cmbnet.lesions import LesionRules, find_lesions, spacing_affine
from cmbnet.lesions.evidence import FEATURES, Evidence, features
from cmbnet.volume import Volume
from tests.candidate import CANDIDATE, NOTHING


def test_every_weight_has_a_feature() -> None:
    assert set(FEATURES) | {"intercept"} == {field.name for field in fields(Evidence)}


def test_features_by_hand() -> None:
    assert features(CANDIDATE) == pytest.approx(
        {
            "mean_logit": 0.0,
            "max_logit": math.log(9),
            "log_volume": 2.0,
            "log_diameter": math.log(4),
            "continuation_mm": 2.0,
            "continues": 1.0,
            "elongation": 1.2,
            "z_ratio": 1.5,
            "border_mm": 7.0,
            "bright_rim": 0.2,
        }
    )


def test_the_score_is_the_logistic_of_the_weighted_sum() -> None:
    evidence = Evidence(**{**NOTHING, "intercept": 1.0, "log_volume": -2.0})
    assert evidence.score(CANDIDATE) == pytest.approx(1 / (1 + math.e**3))


def test_what_nobody_measured_is_no_evidence() -> None:
    unknown = replace(CANDIDATE, continuation_mm=None, border_distance_mm=None, rim_brightness=None)
    assert features(unknown)["continuation_mm"] == features(unknown)["continues"] == 0.0
    assert features(unknown)["border_mm"] == 10.0
    assert features(unknown)["bright_rim"] == 0.0


def test_a_bundle_that_does_not_weigh_the_rim_is_read() -> None:
    before = {name: 0.5 for name in NOTHING if name != "bright_rim"}
    dark = replace(CANDIDATE, rim_brightness=0.9)
    assert Evidence(**before).score(CANDIDATE) == Evidence(**before).score(dark)


@given(
    mean=st.floats(0, 1),
    highest=st.floats(0, 1),
    weight=st.floats(-100, 100),
    elongation=st.floats(1, allow_nan=False),
)
def test_a_score_is_a_probability_whatever_is_measured(
    mean: float, highest: float, weight: float, elongation: float
) -> None:
    evidence = Evidence(**dict.fromkeys(NOTHING, weight))
    candidate = replace(
        CANDIDATE, mean_probability=mean, max_probability=highest, elongation=elongation
    )
    assert 0.0 < evidence.score(candidate) < 1.0


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="finite"):
        Evidence(**{**NOTHING, "z_ratio": math.nan})


def test_lesions_are_ranked_and_removed_by_the_learned_score() -> None:
    """Of two candidates alike but for their size this evidence prefers the larger one."""
    probability = np.zeros((5, 40, 40), np.float32)
    probability[2, 5:9, 5:9] = 0.9
    probability[2, 20:26, 20:26] = 0.8
    volume = Volume(probability, spacing_affine((2.0, 1.0, 1.0)))
    evidence = Evidence(**{**NOTHING, "intercept": -3.9, "log_volume": 1.0})
    rules = LesionRules(pixel_threshold=0.5, evidence=evidence, min_score=0.5)
    finding = find_lesions(volume, rules)
    assert [lesion.volume_mm3 for lesion in finding.lesions] == pytest.approx([72.0])
    assert finding.lesions[0].score == pytest.approx(1 / (1 + math.exp(3.9) / 72))
    assert [lesion.removed_by for lesion in finding.excluded] == ["score"]
    plain = find_lesions(volume, LesionRules(pixel_threshold=0.5, min_score=0.5))
    assert [lesion.score for lesion in plain.lesions] == pytest.approx([0.9, 0.8])
