"""The lesion rules are one tuple: who adds a rule there has added it everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from cmbnet.lesions import Lesion, LesionRules, find_lesions, spacing_affine
from cmbnet.lesions.rules import RULES, Rule
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
