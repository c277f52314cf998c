from __future__ import annotations

import math
from typing import Any

import pytest

from cmbnet.errors import UsageError
from cmbnet.model import PRESETS, ModelConfig, preset


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_survives_json(name: str) -> None:
    config = preset(name)
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_every_setting_survives_json() -> None:
    config = ModelConfig(
        channels=(2, 3, 4, 5), input_slices=5, up_kernel=1, skip="add", lesion_prior=0.01
    )
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_the_output_bias_is_the_logit_of_the_prior() -> None:
    bias = ModelConfig(channels=(1, 1, 1, 1), lesion_prior=0.02).output_bias
    assert 1.0 / (1.0 + math.exp(-bias)) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": (8, 8, 8)}, "four positive channel counts"),
        ({"channels": (8, 0, 8, 8)}, "four positive channel counts"),
        ({"input_slices": 2}, "an odd number of slices"),
        ({"up_kernel": 5}, "up_kernel must be 1 or 3"),
        ({"skip": "multiply"}, "skip must be"),
        ({"lesion_prior": 0.0}, "lesion_prior must lie in"),
        ({"width": 3}, "not a model configuration"),
    ],
)
def test_bad_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelConfig.from_dict({"channels": (8, 8, 8, 8)} | change)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"\['base', 'paper', 'small'\] is required, got 'huge'"):
        preset("huge")
