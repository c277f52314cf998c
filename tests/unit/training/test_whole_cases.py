from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cmbnet.training.data.cache_part import LESION
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.recipe import SamplingSettings
from cmbnet.training.fit.sampler import Sampler
from cmbnet.training.fit.tensorboard import ANSWER_COLOUR, SIDE_PX, TRUTH_COLOUR, example_picture
from cmbnet.training.fit.whole_cases import choose_cases, judge_cases


@pytest.fixture(scope="module")
def sampler(cache: Cache) -> Sampler:
    return Sampler(cache, SamplingSettings(crop_px=32, shift_px=4), 32)


def truth(sampler: Sampler, case: int, z: int) -> Any:
    return ((sampler.cache.cases[case].marks[z] & LESION) > 0).astype(np.float32)


def test_who_knows_the_truth_makes_no_mistake(sampler: Sampler) -> None:
    assert judge_cases(truth, sampler, [0, 1, 2], 0.5) == {
        "case_dice": 1.0,
        "case_lesion_recall": 1.0,
        "case_lesion_precision": 1.0,
        "case_fp_per_scan": 0.0,
        "case_patient_fpr": 0.0,
        "case_patient_fnr": 0.0,
    }


def test_a_false_lesion_in_one_control_by_hand(sampler: Sampler) -> None:
    def answer(_: Sampler, case: int, z: int) -> Any:
        probability = truth(sampler, case, z) if case < 2 else np.zeros_like(truth(sampler, 2, z))
        if case == 2 and z in (3, 4):
            middle = probability.shape[0] // 2 + 12
            probability[middle : middle + 5, middle : middle + 5] = 0.9
        return probability

    scores = judge_cases(answer, sampler, [0, 1, 2], 0.5)
    lesions = sum(case.lesions for case in sampler.cache.cases)
    assert scores["case_lesion_precision"] == pytest.approx(lesions / (lesions + 1))
    assert scores["case_fp_per_scan"] == pytest.approx(1 / 3)
    assert scores["case_patient_fpr"] == 1.0


def test_who_sees_nothing_misses_everything(sampler: Sampler) -> None:
    scores = judge_cases(lambda s, c, z: 0 * truth(s, c, z), sampler, [0], 0.5)
    assert (scores["case_lesion_recall"], scores["case_patient_fnr"]) == (0.0, 1.0)
    assert "case_lesion_precision" not in scores  # nothing was claimed
    assert "case_patient_fpr" not in scores  # no control


def test_cases_of_both_kinds_are_chosen(sampler: Sampler) -> None:
    assert choose_cases(sampler, 2, 0)[-1] == 2  # the control
    assert len(choose_cases(sampler, 2, 0)) == 2
    assert choose_cases(sampler, 9, 0) == [0, 1, 2]
    assert choose_cases(sampler, 0, 0) == []


def test_examples_show_truth_and_answer(sampler: Sampler) -> None:
    z = int(sampler.cache.cases[0].crop_centres.lesion[0, 0])

    def elsewhere(_: Sampler, case: int, z: int) -> Any:
        return np.roll(truth(sampler, case, z), 12, axis=1)

    picture = example_picture(elsewhere, sampler, [(0, z)] * 5, 0.5)
    assert picture.shape == (2 * SIDE_PX, 4 * SIDE_PX, 3)
    for colour in (TRUTH_COLOUR, ANSWER_COLOUR):
        assert (picture[:SIDE_PX, :SIDE_PX] == colour).all(axis=-1).any()
    assert not picture[SIDE_PX:, SIDE_PX:].any()
