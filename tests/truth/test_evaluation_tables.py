"""Every cell of what is written, for cases small enough to fill the tables in by hand."""

from __future__ import annotations

import csv
import inspect
import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cmbnet.evaluation import METRICS, Case, CohortScores, Settings, evaluate_cohort, score_case
from cmbnet.evaluation.cohort.analysis import Plan, analyse
from cmbnet.evaluation.cohort.compare import compare
from cmbnet.evaluation.cohort.origin import CaseOrigin, Origin
from cmbnet.evaluation.cohort.strata import stratify
from cmbnet.evaluation.readers.study import analyse_study
from cmbnet.evaluation.readers.times import compare_times
from cmbnet.evaluation.show.results import (
    cases_csv,
    cohort_counts,
    curves_csv,
    lesions_csv,
    patient_thresholds,
    to_json,
)
from cmbnet.evaluation.show.tables import all_tables
from cmbnet.evaluation.stats.bootstrap import resample
from cmbnet.lesions import spacing_affine
from cmbnet.volume import Volume


def row(values: str | list[float]) -> Volume:
    numbers = [0 if c == "." else int(c) for c in values] if isinstance(values, str) else values
    return Volume(np.array([[numbers]], np.float32), spacing_affine((2.0, 1.0, 1.0)))


def case(name: str, truth: str, predicted: str, **options: Any) -> Case:
    return Case(name, row(truth), row(predicted), **options)


@pytest.fixture(scope="module")
def scores() -> CohortScores:
    """a: three true lesions, found, missed, ignored; two predicted, correct and false. b: none."""
    first = case(
        "a", "111.11..11...", "11.......1..1", patient="p", strata={"field_t": "3"},
        ignore=row("........1...."),
        probability=row([0.9, 0.8, 0.3, 0, 0.2, 0.4, 0, 0, 0, 0.3, 0, 0, 0.6]),
    )  # fmt: skip
    second = case("b", "." * 13, "." * 13, patient="q", strata={"field_t": ""},
                  probability=row([0.0] * 13))  # fmt: skip
    return evaluate_cohort([second, first])


PLAN = Plan(resamples=100, band_resamples=100, fewest=1)
ORIGIN = Origin("phantoms", (CaseOrigin("a", "p", ""),), None)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_verdicts(scores: CohortScores) -> None:
    assert [t.verdict for t in scores.cases[0].truth] == ["found", "missed", "ignored"]
    # The second lies on the true lesion that is left out, of which it covers the rest.
    assert [p.verdict for p in scores.cases[0].predicted] == ["correct", "ignored", "false"]


def test_every_field_of_a_lesion(scores: CohortScores) -> None:
    first, _, left_out = scores.cases[0].truth
    assert (first.side, first.label, first.voxels, first.volume_mm3) == ("truth", 1, 3, 6.0)
    assert (first.diameter_mm, first.size, first.centroid_ras_mm) == (3.0, "2-5 mm", (1, 0, 0))
    assert first.covered == pytest.approx(2 / 3)
    assert (first.partner, first.region) == (1, "")
    assert (first.score, first.detection_score) == pytest.approx((2 / 3, 0.85))
    assert (left_out.covered, left_out.partner) == (0.0, 0)
    assert math.isnan(left_out.detection_score)
    correct, _, false = scores.cases[0].predicted
    assert (correct.side, correct.covered, correct.partner) == ("predicted", 1.0, 1)
    assert (correct.volume_mm3, correct.centroid_ras_mm) == (4.0, (0.5, 0, 0))
    assert (false.covered, false.partner, false.centroid_ras_mm) == (0.0, 0, (12, 0, 0))
    assert (false.score, false.detection_score) == pytest.approx((0.6, 0.6))


def test_the_table_of_cases(scores: CohortScores) -> None:
    assert cases_csv(scores.cases) == (
        "case,patient,field_t,slice distance,tp,fp,fn,tn,voxel_mm3,found,missed,true_ignored,"
        "correct,false,spared,predicted_ignored,notes\n"
        "a,p,3,1.5-2.5 mm,2,1,3,5,2.0,1,1,1,1,1,0,1,\n"
        "b,q,,1.5-2.5 mm,0,0,0,13,2.0,0,0,0,0,0,0,0,\n"
    )


def test_the_table_of_lesions(scores: CohortScores) -> None:
    lines = lesions_csv(scores.cases).splitlines()
    assert lines[0] == (
        "case,patient,side,label,verdict,voxels,volume_mm3,diameter_mm,size,region,covered,"
        "partner,score,detection_score,right_mm,anterior_mm,superior_mm"
    )
    assert lines[1] == "a,p,truth,1,found,3,6.0,3.0,2-5 mm,,0.666667,1,0.666667,0.85,1.0,0.0,0.0"
    assert lines[2].startswith("a,p,truth,2,missed,2,4.0,2.0,2-5 mm,,0.0,0,0.3,,4.5,")
    assert lines[4].startswith("a,p,predicted,1,correct,2,4.0,2.0,2-5 mm,,1.0,1,0.85,0.85,0.5,")
    assert len(lines) == 7


def test_the_counts_of_the_cohort(scores: CohortScores) -> None:
    assert cohort_counts(scores.cases) == {
        "scans": 2, "patients": 2, "patients_with_lesions": 1, "controls": 1, "true_lesions": 2,
        "true_lesions_ignored": 1, "true_lesions_below_2_mm": 0, "true_lesions_above_10_mm": 0,
        "predicted_lesions": 2, "predicted_lesions_ignored": 1, "predicted_lesions_spared": 0,
        "missing_predictions": 0,
    }  # fmt: skip
    odd = evaluate_cohort([
        case("c", "1.111111111111", "..............", notes=("prediction missing, counted",)),
    ])  # fmt: skip
    counts = cohort_counts(odd.cases)
    assert (counts["true_lesions_below_2_mm"], counts["true_lesions_above_10_mm"]) == (1, 1)
    assert counts["missing_predictions"] == 1
    assert odd.cases[0].notes[1:] == ("1 true lesions below 2 mm", "1 true lesions above 10 mm")


def test_patients_by_threshold(scores: CohortScores) -> None:
    """Of p a lesion is found up to .85; the control q has no false one, p has one that is mute."""
    rows = patient_thresholds(scores.cases)
    assert rows is not None
    assert [one["threshold"] for one in rows] == pytest.approx([0.85])
    assert rows[0] | {"threshold": 0} == {
        "threshold": 0, "tp": 1, "fp": 0, "fn": 0, "tn": 1, "tpr": 1, "fpr": 0, "fnr": 0
    }  # fmt: skip
    no_control = patient_thresholds(scores.cases[:1])
    assert no_control is not None
    assert math.isnan(no_control[0]["fpr"])
    alarmed = case("r", "...", "1..", lesion_scores={1: 0.3})
    only_control = patient_thresholds(evaluate_cohort([alarmed]).cases)
    assert only_control is not None
    assert (only_control[0]["fp"], only_control[0]["fpr"]) == (1, 1)
    assert math.isnan(only_control[0]["tpr"])
    assert math.isnan(only_control[0]["fnr"])
    unknown = evaluate_cohort([case("a", "1", "1")])
    assert patient_thresholds(unknown.cases) is None


def test_a_missed_patient_is_the_same_in_both_tables() -> None:
    """p: the best score is a false lesion's; q: found at .7; r: a control with a false one."""
    cases = [
        case("p", "11....", "....11", lesion_scores={1: 0.9}),
        case("q", "11....", "11..2.", lesion_scores={1: 0.7, 2: 0.8}),
        case("r", "......", "1.....", lesion_scores={1: 0.6}),
    ]
    scores = evaluate_cohort(cases)
    rows = patient_thresholds(scores.cases)
    assert rows is not None
    assert [(one["threshold"], one["fn"], one["fp"]) for one in rows] == [(0.7, 1, 0), (0.6, 1, 1)]
    assert (scores.counts["patient_fn"], scores.counts["patient_fp"]) == (1, 1)


def test_the_json(scores: CohortScores) -> None:
    text = to_json(analyse(scores, PLAN), ORIGIN)
    assert text.startswith('{\n "schema": "cmbnet-evaluation/2"')
    document = json.loads(text)
    assert document["settings"]["connectivity"] == 26
    assert document["settings"]["rule"] == "paper:0.4"
    assert document["resampling"]["resamples"] == 100
    for found, one in zip(document["metrics"], METRICS, strict=True):
        assert (found["name"], found["title"], found["formula"]) == (
            one.name,
            one.title,
            one.formula,
        )
        assert found["value"] == pytest.approx(scores.metrics[one.name], nan_ok=True) or (
            found["value"] is None and math.isnan(scores.metrics[one.name])
        )
    by_name = {one["name"]: one for one in document["metrics"]}
    assert by_name["patient_mean_dice"]["patients_defined"] == 1
    assert not [name for name in by_name if "accuracy" in name]
    assert document["data"] == {
        "kind": "phantoms", "cases": [{"case": "a", "patient": "p", "input_sha256": ""}]
    }  # fmt: skip
    assert document["model"] is None
    assert by_name["dice"]["patients_defined"] is None
    assert by_name["lesion_recall"]["wilson"]["low"] > 0
    assert by_name["dice"]["wilson"] is None
    # p is drawn twice, once or not at all: without p there is no lesion, and no recall.
    assert 0.1 < by_name["lesion_recall"]["undefined_resamples"] < 0.4
    areas = {one["name"]: one for one in document["areas"]}
    assert areas["lesion_auc"]["value"] == 0.5  # 2/3 and .3 against .6
    assert (areas["lesion_auc"]["positives"], areas["lesion_auc"]["negatives"]) == (2, 1)
    assert document["froc"]["fp_per_scan"] == [0.125, 0.25, 0.5, 1, 2, 4, 8]
    assert document["froc"]["sensitivity"] == [0.5] * 7
    assert document["froc"]["average_precision"] == 0.5
    assert document["pixel_curves"]["bin_width"] == 1 / 4096


def test_the_points_of_the_curves(scores: CohortScores) -> None:
    rows = table(curves_csv(analyse(scores, PLAN)))
    froc = [(r["x"], r["y"], r["threshold"]) for r in rows if r["curve"] == "froc"]
    # At .85 one of two is found; at .6 the false one of two scans joins.
    assert froc == [("0.0", "0.0", ""), ("0.0", "0.5", "0.85"), ("0.5", "0.5", "0.6")]
    assert {r["curve"] for r in rows} == {
        "roc lesion_auc", "roc candidate_auc", "roc patient_auc", "froc",
        "lesion precision-recall", "pixel roc", "pixel precision-recall",
    }  # fmt: skip


def test_the_tables(scores: CohortScores) -> None:
    tables = {one.title: one for one in all_tables(analyse(scores, PLAN), paper=True)}
    rows = {one[0:2]: one[2:] for one in tables["Model performance"].rows}
    assert rows["Lesion", "Recall"][0] == "0.500"
    assert rows["Lesion", "Recall"][2:] == ("0.095 to 0.905", "0.852")
    assert rows["Lesion", "Area under the ROC curve"] == ("0.500", rows[
        "Lesion", "Area under the ROC curve"][1], "-", "0.861")  # fmt: skip
    patients = {one[0]: one[1:] for one in tables[
        "Patients, positive by at least one correct lesion"].rows}  # fmt: skip
    assert patients["TP"] == ("1", "-", "93")
    assert patients["False-positive rate"][0] == "0.000"
    alone = {one.title: one for one in all_tables(analyse(scores, PLAN))}
    for title in ("Model performance", "Patients, positive by at least one correct lesion"):
        assert alone[title].header == tables[title].header[:-1]
        assert [one[:-1] for one in tables[title].rows] == list(alone[title].rows)
        assert "Fan et al." not in alone[title].note
    strata = {one[0]: one[1:] for one in tables["Strata"].rows}
    assert strata["size: 2-5 mm"][:3] == ("2", "1/2", "0.500")
    assert strata["true lesions per patient: 0"][1] == "-"
    assert strata["field_t: unknown"][0] == "1"


def test_scans_without_a_property_are_a_stratum_and_sizes_without_lesions_none() -> None:
    scores = evaluate_cohort([
        case("a", "11.11.1", "11....1", strata={"site": "x"}), case("b", "...", "..."),
        case("c", "1......", "......."),
    ])  # fmt: skip
    strata = {(one.kind, one.name): one for one in stratify(scores.cases)}
    # Below 2 mm: one found, one missed; two of 2 mm: one of each; none larger.
    assert [name for kind, name in strata if kind == "size"] == ["below 2 mm", "2-5 mm"]
    assert strata["size", "below 2 mm"].recall == 0.5
    assert strata["site", "unknown"].scans == 2
    one = strata["site", "x"]
    assert (one.found, one.missed, one.correct, one.false) == (2, 1, 2, 0)
    assert one.f1 == pytest.approx(2 * (2 / 3) / (1 + 2 / 3))
    assert one.fp_per_scan == 0
    bands = [one for one in strata.values() if one.kind == "true lesions per patient"]
    assert [(one.name, one.scans) for one in bands] == [("0", 1), ("1", 1), ("2-4", 1)]


def test_a_size_with_as_many_found_as_missed_is_a_stratum() -> None:
    """Two of 1 mm: one found by a lesion of 2 mm, so no predicted one is of their size."""
    strata = stratify(evaluate_cohort([case("a", "1....1", "11....")]).cases)
    small = next(one for one in strata if one.name == "below 2 mm")
    assert (small.found, small.missed, small.correct, small.false) == (1, 1, 0, 0)


def test_the_count_of_lesions_is_predicted_minus_true() -> None:
    """Three of one, of which one is correct; none of one."""
    m = evaluate_cohort([case("a", "11.....", "11.1.1."), case("b", "1......", ".......")]).metrics
    assert (m["count_error"], m["absolute_count_error"]) == ((2 - 1) / 2, (2 + 1) / 2)


def test_two_lesions_of_the_same_sizes_are_other_references() -> None:
    first = evaluate_cohort([case("a", "11....", "......", patient="p")])
    for other in (case("a", "1.....", "......", patient="p"), case("a", "11....", "......")):
        with pytest.raises(Exception, match="different references"):
            compare(first, evaluate_cohort([other]), resamples=100)


@pytest.mark.parametrize("function", [resample, compare, analyse_study, compare_times, Plan])
def test_ten_thousand_resamples_are_the_default(function: Callable[..., Any]) -> None:
    assert inspect.signature(function).parameters["resamples"].default == 10_000


def test_a_label_of_2_to_the_24_is_the_highest() -> None:
    data = np.zeros((1, 1, 4))
    data[0, 0, :2] = 2**24
    labels = Volume(data, np.eye(4))
    assert len(score_case(Case("a", labels, labels), Settings()).truth) == 1


def many(seen: int, false: int) -> list[Case]:
    """Patients with a lesion each, found; then controls with a false lesion each."""
    return [
        *(case(f"p{n}", "11....", "11....", probability=row([0.9] * 6)) for n in range(seen)),
        *(case(f"q{n}", "......", "11....", probability=row([0.6] * 6)) for n in range(false)),
    ]


def test_curves_of_fewer_than_ten_negatives_are_not_enough() -> None:
    """The number is stated; ten are enough."""
    few = analyse(evaluate_cohort(many(12, 9)), Plan(100, 100))
    assert (few.areas, few.froc) == ((), None)
    text = " ".join(few.withheld)
    assert text.count("not enough negatives") == 4
    assert "9 false lesions where 10 are required" in text
    document = json.loads(to_json(few, ORIGIN))
    assert (document["areas"], document["froc"]) == ([], None)
    assert document["notes"][:4] == list(few.withheld[:4])
    tables = {one.title: one for one in all_tables(few)}
    assert "FROC" not in tables
    assert "not enough negatives, 9 where 10" in tables["Areas under curves"].note
    enough = analyse(evaluate_cohort(many(12, 10)), Plan(100, 100))
    assert {area.name: area.value for area in enough.areas} == dict.fromkeys(
        ("lesion_auc", "candidate_auc", "patient_auc"), 1.0
    )
    assert enough.froc is not None
    positives = analyse(evaluate_cohort(many(9, 10)), Plan(100, 100))
    assert "not enough positives, 9 where 10 are required" in " ".join(positives.withheld)
