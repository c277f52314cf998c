"""Curves go on below the operating point by what the detector excluded by its score."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmbnet.evaluation import Case, MatchingRule, Settings, evaluate_cohort, score_case
from cmbnet.evaluation.cohort.analysis import Plan, analyse
from cmbnet.evaluation.cohort.load import read_lesion_table
from cmbnet.evaluation.match.candidates import Candidate, outline
from cmbnet.evaluation.match.labels import read_labels
from cmbnet.evaluation.show.figures import froc
from cmbnet.evaluation.show.results import lesions_csv, patient_thresholds
from cmbnet.evaluation.stats.froc import (
    candidate_samples,
    froc_curve,
    lesion_samples,
    lesion_scores_of,
)
from cmbnet.lesions import LesionRules, find_lesions, spacing_affine
from cmbnet.report.tables import lesions_csv as table_of_predict
from cmbnet.volume import Volume

AFFINE = spacing_affine((2.0, 0.5, 0.5))
SHAPE = (5, 40, 40)
PLACES = [(y, x) for y in (4, 14, 24, 34) for x in (4, 14, 24, 34)]


def volume(*spots: tuple[int, float]) -> Volume:
    """Blocks of 5 x 5 pixels in one slice (2.5 mm) at numbered places, with a value."""
    data = np.zeros(SHAPE, np.float32)
    for place, value in spots:
        y, x = PLACES[place]
        data[2, y : y + 5, x : x + 5] = value
    return Volume(data, AFFINE)


def detected(tmp_path: Path, *spots: tuple[int, float], min_score: float = 0.5) -> Any:
    """What a detector says of a map: labels, and the table as `cmbnet predict` writes it."""
    probability = volume(*spots)
    rules = LesionRules(pixel_threshold=0.1, min_score=min_score)
    finding = find_lesions(probability, rules)
    path = tmp_path / "lesions.csv"
    path.write_text(table_of_predict((*finding.lesions, *finding.excluded)), encoding="utf-8")
    table = read_lesion_table(path)
    return {
        "predicted": probability.with_data(finding.labels),
        "probability": probability,
        "lesion_scores": table.scores,
        "candidates": table.candidates,
    }


def test_a_candidate_covers_the_voxels_nearest_to_its_centre() -> None:
    predicted = read_labels(volume((0, 1)))
    y, x = PLACES[1]
    centre = volume().world_mm((2, y + 2, x + 2))
    labels = outline([Candidate(7, centre, 25 * 0.5, 0.3)], predicted, volume())
    assert labels.values.tolist() == [7]
    assert labels.voxels.tolist() == [25]
    middle = 2 * 1600 + (y + 2) * 40 + x + 2
    assert {middle, middle - 1, middle + 40} <= set(labels.index.tolist())
    assert not outline([], predicted, volume()).count


@pytest.mark.parametrize("rule", ["paper", "iou:0.2", "any-voxel", "centroid:3"])
def test_the_froc_goes_on_below_the_operating_point(tmp_path: Path, rule: str) -> None:
    """At .5: one of three lesions, none false. Below: one at .4 and false ones at .3 and .2."""
    case = Case(
        "a",
        truth=volume((0, 1), (1, 2), (2, 3)),
        **detected(tmp_path, (0, 0.9), (1, 0.4), (8, 0.3), (9, 0.2)),
    )
    scores = evaluate_cohort([case], Settings(rule=MatchingRule.parse(rule)))
    assert (scores.metrics["lesion_recall"], scores.metrics["fp_per_scan"]) == (1 / 3, 0)
    lesions = lesion_scores_of(scores.cases)
    assert lesions is not None
    curve = froc_curve(lesions)
    np.testing.assert_allclose(curve.threshold[1:], [0.9, 0.4, 0.3, 0.2], atol=1e-4)
    np.testing.assert_allclose(curve.x, [0, 0, 0, 1, 2])
    np.testing.assert_allclose(curve.y, np.array([0, 1, 2, 2, 2]) / 3)
    # What is counted of the prediction itself does not change.
    assert [t.verdict for t in scores.cases[0].truth] == ["found", "missed", "missed"]
    assert "candidate" not in lesions_csv(scores.cases)
    assert math.isnan(scores.cases[0].truth[2].detection_score)


def test_areas_are_the_same_with_candidates_as_without_a_threshold(tmp_path: Path) -> None:
    """A prediction at .5 with its candidates ranks as one of everything."""
    spots = [(n, 0.15 + 0.05 * n) for n in range(16)]
    truth = volume((3, 1), (7, 2), (11, 3), (14, 4))
    cut = score_case(Case("a", truth, **detected(tmp_path, *spots)))
    whole = score_case(Case("a", truth, **detected(tmp_path, *spots, min_score=0.0)))
    assert len(cut.candidates) == 7
    assert not whole.candidates
    for samples_of in (lesion_samples, candidate_samples):
        first, second = samples_of([cut]), samples_of([whole])
        assert first is not None
        assert second is not None
        assert sorted(zip(first.positive, first.score.round(4), strict=True)) == sorted(
            zip(second.positive, second.score.round(4), strict=True)
        )
    rows = patient_thresholds([cut])
    assert rows is not None
    assert [one["threshold"] for one in rows] == pytest.approx([0.85], abs=1e-4)


def test_a_duplicate_below_the_operating_point_takes_no_partner_away() -> None:
    """One to one, a lesion that is found at .9 stays so, whatever lies on it at .2."""
    y, x = PLACES[0]
    truth = volume((0, 1))
    truth.data[2, y : y + 5, x : x + 8] = 1
    beside = Candidate(2, volume().world_mm((2, y + 2, x + 6)), 25 * 0.5, 0.2)
    case = Case("a", truth, volume((0, 1)), lesion_scores={1: 0.9}, candidates=(beside,))
    scored = score_case(case, Settings(rule=MatchingRule.parse("any-voxel")))
    assert scored.truth[0].detection_score == 0.9
    assert [one.verdict for one in scored.candidates] == ["false"]
    spare = score_case(case, Settings(rule=MatchingRule.parse("any-voxel:spare")))
    assert [one.verdict for one in spare.candidates] == ["spared"]


def test_candidates_in_the_ignore_region_count_for_nothing(tmp_path: Path) -> None:
    made = detected(tmp_path, (0, 0.9), (8, 0.3))
    case = Case("a", volume((0, 1)), ignore=volume((8, 1)), **made)
    assert [one.verdict for one in score_case(case).candidates] == ["ignored"]


def test_only_what_the_score_excluded_is_a_candidate(tmp_path: Path) -> None:
    """A speck of one pixel is excluded by its size: no threshold on scores brings it back."""
    probability = volume((0, 0.9), (1, 0.3))
    probability.data[2, 39, 39] = 0.95
    finding = find_lesions(probability, LesionRules(pixel_threshold=0.1, min_score=0.5))
    path = tmp_path / "lesions.csv"
    path.write_text(table_of_predict((*finding.lesions, *finding.excluded)), encoding="utf-8")
    with path.open(newline="", encoding="utf-8") as stream:
        assert {row["removed_by"] for row in csv.DictReader(stream)} == {"", "size", "score"}
    table = read_lesion_table(path)
    assert list(table.scores) == [1]
    assert table.candidates is not None
    assert [one.score for one in table.candidates] == pytest.approx([0.3], abs=1e-4)


def test_a_curve_that_ends_at_the_operating_point_says_so() -> None:
    case = Case("a", volume((0, 1)), volume((0, 1)), probability=volume((0, 0.9)))
    assert any("end at its operating point" in one for one in analyse(
        evaluate_cohort([case]), Plan(100, 100)).withheld)  # fmt: skip
    maps = Case("a", volume((0, 1)), None, probability=volume((0, 0.9)))
    assert not any("operating point" in one for one in analyse(
        evaluate_cohort([maps]), Plan(100, 100)).withheld)  # fmt: skip


@pytest.mark.parametrize("false", [0, 1, 12])
def test_the_operating_point_lies_within_the_axes_of_the_froc(tmp_path: Path, false: int) -> None:
    """Also with none and with twelve false lesions per scan."""
    spots = [(0, 0.9), *((n, 0.8) for n in range(1, 1 + false)), (15, 0.3), (14, 0.3)]
    case = Case("a", volume((0, 1)), **detected(tmp_path, *spots))
    analysis = analyse(evaluate_cohort([case]), Plan(100, 100, fewest=1))
    assert analysis.froc is not None
    assert analysis.froc.operating_point == (false, 1.0)
    (ax,) = froc(analysis).axes
    (point,) = [line for line in ax.lines if line.get_label() == "operating point"]
    x, y = (float(np.asarray(values)[0]) for values in point.get_data())
    assert (x, y) == (false, 1.0)
    assert ax.get_xlim()[0] < x < ax.get_xlim()[1]
    assert ax.get_ylim()[0] < y < ax.get_ylim()[1]
