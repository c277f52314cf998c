"""The lesion rules are one tuple: who adds a rule there has added it everywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmbnet.lesions import Lesion, LesionRules, find_lesions, spacing_affine, with_places
from cmbnet.lesions.rules import RULES, Rule
from cmbnet.regions import UNKNOWN, Place
from cmbnet.training.choose.candidates import REMOVED, LabelledMap, OutlineRule, scan_candidates
from cmbnet.volume import Volume

THRESHOLDS = LesionRules()


def two_dots() -> LabelledMap:
    """One in the left half of the image and one in the right."""
    affine = spacing_affine((2.0, 0.5, 0.5))
    probability = np.zeros((8, 40, 40), np.float32)
    for column in (8, 28):
        probability[3:5, 16:22, column : column + 6] = 0.9
    volume = Volume(probability, affine)
    truth = volume.with_data((probability > 0).astype(np.uint8))
    image = volume.with_data(100 - 80 * probability)
    brain = np.ones(probability.shape, bool)
    return LabelledMap("two", image, volume, brain, truth, None)


def test_a_rule_that_is_added_to_the_tuple_holds_in_prediction_and_in_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reason(lesion: Lesion, _: LesionRules) -> str | None:
        return "in the left half" if lesion.voxel_ijk[0] < 20 else None

    scan = two_dots()
    assert len(find_lesions(scan.probability, THRESHOLDS).lesions) == 2
    for user in ("lesions.find", "training.choose.candidates"):
        monkeypatch.setattr(f"cmbnet.{user}.RULES", (*RULES, Rule("left", "border", reason)))
    finding = find_lesions(scan.probability, THRESHOLDS, brain=scan.brain)
    assert len(finding.lesions) == 1
    assert [(one.removed_by, one.reason) for one in finding.excluded] == [
        ("border", "in the left half")
    ]
    scores = scan_candidates(scan, OutlineRule(0.5), THRESHOLDS).scores(THRESHOLDS)
    assert sorted(scores.tolist()) == pytest.approx([REMOVED, 0.9])


def test_a_rule_that_looks_at_surroundings_sees_them_measured() -> None:
    seen: list[float | None] = []

    def reason(lesion: Lesion, _: LesionRules) -> str | None:
        seen.append(lesion.border_distance_mm)
        return None

    scan = two_dots()
    asked = (*RULES, Rule("watcher", "border", reason, surroundings=True))
    find_lesions(scan.probability, THRESHOLDS, brain=scan.brain, asked=asked)
    assert seen == [10.0, 10.0]


def test_rules_have_names_of_their_own() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


def half_fluid(centre_ras_mm: tuple[float, float, float]) -> Place:
    """The dot at the smaller x lies at the edge of a ventricle."""
    return Place(region="frontal", tissue=0.5 if centre_ras_mm[0] < 10 else 1.0)


@pytest.mark.parametrize(("least", "kept"), [(0.4, 2), (0.5, 1)])
def test_the_score_is_that_of_look_and_place_together(least: float, kept: int) -> None:
    """A mean probability of .9 in a place that is tissue by half makes .45."""
    rules = LesionRules(min_score=least, in_tissue=True)
    found = with_places(find_lesions(two_dots().probability, rules), half_fluid, rules)
    every = [*found.lesions, *found.excluded]
    assert [one.id for one in every] == [1, 2]
    assert [one.score for one in every] == pytest.approx([0.9, 0.45])
    assert len(found.lesions) == kept
    assert found.stages["lesions"] == kept
    assert found.stages["removed_by_score"] == 2 - kept
    assert sorted(np.unique(found.labels).tolist()) == list(range(kept + 1))
    assert found.labels[4, 18, 30] == 1  # the sure one, which was the second to be found
    reasons = [one.reason for one in found.excluded]
    assert reasons == ["score 0.450 is below 0.500, with 50% brain tissue at its place"][: 2 - kept]


def test_an_unknown_place_leaves_the_score() -> None:
    rules = LesionRules(min_score=0.8, in_tissue=True)
    found = find_lesions(two_dots().probability, rules)
    assert len(with_places(found, lambda _: UNKNOWN, rules).lesions) == 2


def test_rules_without_tissue_leave_the_score() -> None:
    rules = LesionRules(min_score=0.8)
    found = find_lesions(two_dots().probability, rules)
    assert len(with_places(found, half_fluid, rules).lesions) == 2


def test_thresholds_are_chosen_on_the_scores_that_prediction_gives() -> None:
    rules = LesionRules(in_tissue=True)
    scan = scan_candidates(replace(two_dots(), place=half_fluid), OutlineRule(0.5), rules)
    found = with_places(find_lesions(two_dots().probability, rules), half_fluid, rules)
    assert sorted(scan.scores(rules)) == sorted(one.score for one in found.lesions)
