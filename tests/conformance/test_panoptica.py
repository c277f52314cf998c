"""Instance matching against panoptica, on its own spine masks and on random volumes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from cmbnet.evaluation import Case, MatchingRule, Settings, score_case
from cmbnet.io import read_nifti
from cmbnet.volume import Volume

from .shared import DATA, needs_data, oracle


def spine(folder: str) -> Case:
    files = DATA / "panoptica_cases" / folder
    return Case(folder, read_nifti(files / "ref.nii.gz"), read_nifti(files / "pred.nii.gz"))


@needs_data
@pytest.mark.parametrize("folder", ["matched_instance", "unmatched_instance"])
def test_published_cases_match_by_overlap_not_by_label(folder: str) -> None:
    any_overlap = score_case(spine(folder), Settings(rule=MatchingRule.parse("any-voxel")))
    assert sum(t.verdict == "found" for t in any_overlap.truth) == 22
    assert sum(p.verdict == "false" for p in any_overlap.predicted) == 0
    half = score_case(spine(folder), Settings(rule=MatchingRule.parse("iou:0.5")))
    assert sum(t.verdict == "found" for t in half.truth) == 19
    assert sum(t.verdict == "missed" for t in half.truth) == 3
    assert sum(p.verdict == "false" for p in half.predicted) == 3


@needs_data
def test_partners_are_the_same_object_under_another_number() -> None:
    scored = score_case(spine("unmatched_instance"))
    assert all(t.partner == t.label + 1 for t in scored.truth)


def test_random_volumes() -> None:
    panoptica = oracle("panoptica")
    rng = np.random.default_rng(0)
    for seed in range(8):
        truth = np.zeros((6, 30, 30), np.uint8)
        predicted = np.zeros_like(truth)
        for number in range(1, 7):
            z, y, x = rng.integers(0, 4), rng.integers(0, 24), rng.integers(0, 24)
            truth[z : z + 2, y : y + 5, x : x + 5] = number
            shift = rng.integers(0, 4)
            predicted[z : z + 2, y : y + 5, x + shift : x + 5 + shift] = number
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = panoptica.Panoptica_Evaluator(
                expected_input=panoptica.InputType.UNMATCHED_INSTANCE,
                instance_matcher=panoptica.NaiveThresholdMatching(matching_threshold=0.5),
            )
            theirs = next(iter(evaluator.evaluate(predicted, truth, verbose=False).values()))
        case = Case(str(seed), Volume(truth, np.eye(4)), Volume(predicted, np.eye(4)))
        ours = score_case(case, Settings(rule=MatchingRule.parse("iou:0.5")))
        assert sum(t.verdict == "found" for t in ours.truth) == theirs.tp
        assert sum(p.verdict == "false" for p in ours.predicted) == theirs.fp
        assert sum(t.verdict == "missed" for t in ours.truth) == theirs.fn
