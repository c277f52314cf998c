"""MetricsReloaded's masks and the per-case table of the DOU test scans."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest

from cmbnet.errors import InputRefused
from cmbnet.evaluation import Case, evaluate_cohort, score_case
from cmbnet.evaluation.match.overlap import VoxelCounts
from cmbnet.evaluation.match.score import ScoredCase
from cmbnet.evaluation.stats.columns import Columns, patient_columns
from cmbnet.evaluation.stats.metrics import compute_all
from cmbnet.io import read_nifti
from cmbnet.volume import Volume

from .shared import DATA, needs_data

LESION = {
    "0001": (109, 33, 2350, 1333, 0.7239),
    "0002": (33, 11, 479, 264, 0.7106),
    "0005": (116, 61, 4041, 3456, 0.9220),
    "0006": (67, 26, 4459, 3553, 0.8869),
    "0007": (171, 143, 15948, 13570, 0.8053),
    "0009": (110, 66, 5963, 4811, 0.8931),
}
"""Components and voxels of reference and prediction above 0.5, and Dice (SOURCE.txt)."""


def pair(kind: str, name: str) -> tuple[Volume, Volume]:
    folder = DATA / "metricsreloaded_cases" / kind
    return read_nifti(folder / f"{name}_ref.nii.gz"), read_nifti(folder / f"{name}_pred.nii.gz")


@needs_data
@pytest.mark.parametrize("name", ["0002", "0006"])
def test_metricsreloaded_lesions(name: str) -> None:
    truth, predicted = (v.with_data(v.data > 0.5) for v in pair("lesion", name))
    scored = score_case(Case(name, truth, predicted))
    n_truth, n_predicted, true_voxels, predicted_voxels, dice = LESION[name]
    assert (len(scored.truth), len(scored.predicted)) == (n_truth, n_predicted)
    v = scored.voxels
    assert (v.tp + v.fn, v.tp + v.fp) == (true_voxels, predicted_voxels)
    assert 2 * v.tp / (2 * v.tp + v.fp + v.fn) == pytest.approx(dice, abs=5e-5)


@needs_data
def test_a_soft_reference_is_refused_unless_thresholded() -> None:
    truth, predicted = pair("lesion", "0002")
    with pytest.raises(InputRefused, match=r"labels must be whole numbers.*0002_ref"):
        score_case(Case("0002", truth, predicted))


@needs_data
def test_metricsreloaded_detection_with_an_empty_prediction() -> None:
    truth, predicted = (v.with_data(v.data > 0.5) for v in pair("detection", "2"))
    scores = evaluate_cohort([Case("2", truth, predicted)])
    assert np.isnan(scores.metrics["lesion_precision"])
    assert scores.metrics["lesion_recall"] == 0
    assert scores.cases[0].truth[0].voxels > 0


def _table(name: str) -> list[dict[str, str]]:
    with (DATA / "microbleednet_dou_tables" / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def _columns(model: str) -> Columns:
    rows = [row for row in _table("dou_reference_counts.csv") if row["model"] == model]
    counts = [(int(row["tp"]), int(row["fp"]), int(row["fn"])) for row in rows]
    return patient_columns(_scored(f"{n:02}", *one) for n, one in enumerate(counts))


def _scored(name: str, tp: int, fp: int, fn: int) -> ScoredCase:
    class Lesion:
        def __init__(self, verdict: str) -> None:
            self.verdict, self.size = verdict, "2-5 mm"

    truth: Any = tuple(Lesion(v) for v in ["found"] * tp + ["missed"] * fn)
    predicted: Any = tuple(Lesion(v) for v in ["correct"] * tp + ["false"] * fp)
    return ScoredCase(name, name, {}, VoxelCounts(0, 0, 0, 1, 1.0), truth, predicted, False, ())


@needs_data
@pytest.mark.parametrize("model", ["scratch", "transfer"])
def test_published_aggregates_of_the_dou_scans(model: str) -> None:
    published = {
        row["quantity"]: float(row["value"])
        for row in _table("dou_reference_aggregates.csv")
        if row["model"] == model
    }
    columns = _columns(model)
    m = compute_all(columns.sums())
    for ours, theirs in {
        "lesion_precision": "micro_precision",
        "lesion_recall": "micro_recall",
        "lesion_f1": "micro_f1",
        "fp_per_scan": "fp_per_scan",
        "patient_mean_lesion_precision": "macro_precision",
        "patient_mean_lesion_recall": "macro_recall",
    }.items():
        assert m[ours] == pytest.approx(published[theirs], abs=1e-12), ours
    assert columns.sums()["found"] == published["tp"]
    # They leave out the cases without any found lesion, whose F1 is 0 here.
    own = columns.column("own_lesion_f1")
    assert own[own > 0].mean() == pytest.approx(published["macro_f1"], abs=1e-12)


@needs_data
def test_the_published_figures_of_the_issue() -> None:
    m = compute_all(_columns("scratch").sums())
    assert m["lesion_precision"] == pytest.approx(0.822581, abs=5e-7)
    assert m["lesion_recall"] == pytest.approx(0.689189, abs=5e-7)
    assert m["lesion_f1"] == pytest.approx(0.75)
