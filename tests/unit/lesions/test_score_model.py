"""The learned score of a candidate."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cmbnet.errors import UsageError
from cmbnet.lesions import LesionRules, find_lesions, spacing_affine
from cmbnet.lesions.profile import MEASURES
from cmbnet.lesions.score_model import FEATURES, FURTHEST, OWN, ScoreModel, features
from cmbnet.volume import Volume
from tests.helpers.candidate import CANDIDATE, weighing


def test_features_by_hand() -> None:
    assert dict(zip(OWN, features(CANDIDATE, tuple(OWN)), strict=True)) == pytest.approx(
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
    assert features(CANDIDATE, MEASURES).tolist() == list(CANDIDATE.profile)


def test_without_a_hidden_layer_it_is_the_logistic_of_the_weighted_sum() -> None:
    evidence = weighing(1.0, log_volume=-2.0)
    assert evidence.score(CANDIDATE) == pytest.approx(1 / (1 + math.e**3))


def test_a_network_by_hand() -> None:
    """Volume is (2 - 1) / 2 = .5 standardised, the elongation (1.2 - 1) / .1 = 2."""
    evidence = ScoreModel(
        features=("log_volume", "elongation"),
        mean=(1.0, 1.0),
        spread=(2.0, 0.1),
        hidden=((2.0, -1.0, 0.5), (0.0, 1.0, -2.0), (1.0, 1.0, 1.0)),
        output=(3.0, 5.0, -1.0, 0.25),
    )
    odds = 3 * math.tanh(1.0 - 2.0 + 0.5) + 5 * math.tanh(0.0) - math.tanh(3.5) + 0.25
    assert evidence.score(CANDIDATE) == pytest.approx(1 / (1 + math.exp(-odds)))


def test_what_nobody_measured_is_no_evidence() -> None:
    unknown = replace(
        CANDIDATE,
        continuation_mm=None,
        border_distance_mm=None,
        rim_brightness=None,
        profile=(),
    )
    known = dict(zip(OWN, features(unknown, tuple(OWN)), strict=True))
    assert known["continuation_mm"] == known["continues"] == known["bright_rim"] == 0.0
    assert known["border_mm"] == 10.0
    assert np.isnan(features(unknown, MEASURES)).all()
    looks = ScoreModel(features=("darkest",), mean=(0.3,), spread=(1.0,), output=(4.0, 0.0))
    assert looks.score(unknown) == looks.score(replace(CANDIDATE, profile=(0.3,) * len(MEASURES)))
    assert looks.score(unknown) == 0.5


def test_what_lies_beyond_all_that_was_fitted_counts_no_more() -> None:
    evidence = weighing(log_volume=0.1)
    limit = replace(CANDIDATE, volume_mm3=math.exp(FURTHEST))
    beyond = replace(CANDIDATE, volume_mm3=math.exp(2 * FURTHEST))
    assert evidence.score(beyond) == pytest.approx(evidence.score(limit))


@given(
    mean=st.floats(0, 1),
    highest=st.floats(0, 1),
    weight=st.floats(-100, 100),
    elongation=st.floats(1, allow_nan=False),
    hidden=st.booleans(),
)
def test_a_score_is_a_probability_whatever_is_measured(
    mean: float, highest: float, weight: float, elongation: float, hidden: bool
) -> None:
    count = len(FEATURES)
    evidence = ScoreModel(
        features=tuple(FEATURES),
        mean=(0.0,) * count,
        spread=(1.0,) * count,
        hidden=((weight,) * (count + 1),) * 2 if hidden else (),
        output=(weight,) * (3 if hidden else count + 1),
    )
    candidate = replace(
        CANDIDATE, mean_probability=mean, max_probability=highest, elongation=elongation
    )
    assert 0.0 < evidence.score(candidate) < 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"output": (math.nan, 0.0)}, "finite"),
        ({"spread": (0.0,)}, "spreads positive"),
        ({"features": ("colour",)}, "got \\['colour'\\]"),
        ({"mean": (0.0, 1.0)}, "do not fit"),
        ({"output": (1.0,)}, "do not fit"),
        ({"hidden": ((1.0, 2.0, 3.0),)}, "do not fit"),
        ({"hidden": ((1.0, 2.0),), "output": (1.0, 2.0, 3.0)}, "do not fit"),
    ],
)
def test_weights_that_mean_nothing_are_refused(wrong: dict[str, object], message: str) -> None:
    right = {"features": ("z_ratio",), "mean": (0.0,), "spread": (1.0,), "output": (1.0, 0.0)}
    ScoreModel(**right)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        ScoreModel(**{**right, **wrong})  # type: ignore[arg-type]


def test_a_manifest_gives_the_same_score_back() -> None:
    evidence = ScoreModel(
        features=("log_volume", "darkest"),
        mean=(1.0, 0.2),
        spread=(2.0, 0.1),
        hidden=((2.0, -1.0, 0.5), (0.1, 1.0, -2.0)),
        output=(3.0, 5.0, 0.25),
    )
    adapter = TypeAdapter(ScoreModel)
    assert adapter.validate_json(adapter.dump_json(evidence)) == evidence


def test_a_result_does_not_hold_the_profile() -> None:
    assert "profile" not in TypeAdapter(type(CANDIDATE)).dump_python(CANDIDATE)


def test_lesions_are_ranked_and_removed_by_the_learned_score() -> None:
    """Of two candidates alike but for their size this evidence prefers the larger one."""
    probability = np.zeros((5, 40, 40), np.float32)
    probability[2, 5:9, 5:9] = 0.9
    probability[2, 20:26, 20:26] = 0.8
    volume = Volume(probability, spacing_affine((2.0, 1.0, 1.0)))
    evidence = weighing(-3.9, log_volume=1.0)
    rules = LesionRules(pixel_threshold=0.5, evidence=evidence, min_score=0.5)
    finding = find_lesions(volume, rules)
    assert [lesion.volume_mm3 for lesion in finding.lesions] == pytest.approx([72.0])
    assert finding.lesions[0].score == pytest.approx(1 / (1 + math.exp(3.9) / 72))
    assert [lesion.removed_by for lesion in finding.excluded] == ["score"]
    plain = find_lesions(volume, LesionRules(pixel_threshold=0.5, min_score=0.5))
    assert [lesion.score for lesion in plain.lesions] == pytest.approx([0.9, 0.8])
