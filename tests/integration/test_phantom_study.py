"""Tiny phantoms, scored and read by five simulated readers: the paper's design in small.

The system and the readers are made from the truth by known errors; nothing here says how a model or
a person does.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet.cli import evaluate, readers
from cmbnet.io import read_nifti, write_nifti
from cmbnet.phantom import CohortPlan, write_cohort
from tests.helpers.simulate import Errors, simulate_prediction, simulate_reader

PLAN = CohortPlan(6, 2, 41, "tiny", "procedural", cases_per_head=4, lesions=(2, 6))
READERS = ("R1", "R2", "R3", "R4", "R5")
ERRORS = Errors(miss=0.3, false_per_scan=1.5)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom cohort with ``system``, ``probability``, ``readers`` and ``times.csv``."""
    root = tmp_path_factory.mktemp("phantoms")
    write_cohort(root, PLAN)
    times = ["reader,case,arm,seconds"]
    for number, path in enumerate(sorted((root / "lesions").glob("*.nii.gz"))):
        truth, brain = read_nifti(path), read_nifti(root / "brain" / path.name).data > 0
        system = simulate_prediction(truth, ERRORS, number, brain=brain)
        write_nifti(system.labels, root / "system" / path.name, dtype=np.uint16)
        write_nifti(system.probability, root / "probability" / path.name, dtype=np.float32)
        case = path.name.removesuffix(".nii.gz")
        for index, reader in enumerate(READERS):
            revised = simulate_reader(system.labels, truth, 100 * index + number)
            write_nifti(revised, root / "readers" / reader / path.name, dtype=np.uint16)
            times += [f"{reader},{case},without,{150 + 7 * number + index}",
                      f"{reader},{case},with,{80 + 5 * number + index}"]  # fmt: skip
    (root / "times.csv").write_text("\n".join(times) + "\n", encoding="utf-8")
    return root


def run(command: Any, *args: Any) -> str:
    result = CliRunner().invoke(command, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def scores(cohort: Path) -> dict[str, Any]:
    run(evaluate.command, "--truth", cohort / "lesions", "--pred", cohort / "system",
        "--probabilities", cohort / "probability", "--ignore", cohort / "ignore",
        "--brain", cohort / "brain", "--manifest", cohort / "cases.csv",
        "--lesions", cohort / "lesions.csv", "--resamples", 200, "--jobs", 1, "--no-figures",
        "--data-kind", "phantoms", "-o", cohort / "scores")  # fmt: skip
    result: dict[str, Any] = json.loads((cohort / "scores" / "results.json").read_text())
    return result


def test_the_cohort_is_the_one_that_was_made(cohort: Path, scores: dict[str, Any]) -> None:
    made = scores["cohort"]
    assert (made["scans"], made["patients_with_lesions"], made["controls"]) == (8, 6, 2)
    assert made["true_lesions"] + made["true_lesions_ignored"] == sum(
        int(row["n_lesions"]) for row in rows(cohort / "cases.csv")
    )
    assert scores["counts"]["missed"] > 0
    assert scores["counts"]["false"] > 0
    # Two controls are too few for an area of patients, and so are the correct lesions.
    assert [area["name"] for area in scores["areas"]] == ["lesion_auc"]
    assert "not enough negatives, 2 where 10 are required" in " ".join(scores["notes"])


def test_every_kind_of_stratum_holds_every_true_lesion_once(scores: dict[str, Any]) -> None:
    total: Counter[str] = Counter()
    for one in scores["strata"]:
        total[one["kind"]] += one["found"] + one["missed"]
    assert total == dict.fromkeys(
        ("size", "region", "group", "slice distance", "field_t", "protocol", "anatomy",
         "true lesions per patient"), scores["cohort"]["true_lesions"],
    )  # fmt: skip


def test_strata_of_lesions_are_those_of_the_table(cohort: Path, scores: dict[str, Any]) -> None:
    table = [row for row in rows(cohort / "lesions.csv") if row["status"] == "truth"]
    counted = {
        (row["case"], row["label"])
        for row in rows(cohort / "scores" / "lesions.csv")
        if row["side"] == "truth" and row["verdict"] != "ignored"
    }
    regions = Counter(row["region"] for row in table if (row["case"], row["lesion"]) in counted)
    strata = {s["name"]: s for s in scores["strata"] if s["kind"] == "region"}
    assert {name: s["found"] + s["missed"] for name, s in strata.items()} == regions
    assert len(regions) > 1
    assert all(s["precision"] is s["fp_per_scan"] is None for s in strata.values())
    diameters = {(row["case"], row["lesion"]): float(row["diameter_mm"]) for row in table}
    small = sum(2 <= mm < 5 for place, mm in diameters.items() if place in counted)
    sizes = {s["name"]: s["found"] + s["missed"] for s in scores["strata"] if s["kind"] == "size"}
    assert sizes["2-5 mm"] == small


def test_strata_of_scans_are_those_of_the_manifest(cohort: Path, scores: dict[str, Any]) -> None:
    manifest = rows(cohort / "cases.csv")
    for kind in ("field_t", "protocol", "anatomy"):
        expected = Counter(row[kind] for row in manifest)
        assert {s["name"]: s["scans"] for s in scores["strata"] if s["kind"] == kind} == expected
    bands = {s["name"]: s["scans"] for s in scores["strata"]
             if s["kind"] == "true lesions per patient"}  # fmt: skip
    assert bands["0"] == 2
    assert sum(bands.values()) == 8


def test_five_readers_revise_the_system(cohort: Path) -> None:
    output = run(readers.command, "--system", cohort / "system", "--readers", cohort / "readers",
                 "--truth", cohort / "lesions", "--times", cohort / "times.csv",
                 "--resamples", 200, "--paper",
                 "--data-kind", "phantoms", "-o", cohort / "study")  # fmt: skip
    assert "Paper, average of five" in output
    study = json.loads((cohort / "study" / "readers.json").read_text())
    system = study["study"]["system_by_truth"]
    lesions = system["correct"] + system["incorrect"]
    assert [reader["name"] for reader in study["study"]["readers"]] == list(READERS)
    for reader in study["study"]["readers"]:
        labels = reader["system_by_reader"]
        assert labels["correct"] + labels["incorrect"] == lesions  # every lesion gets its label
        assert sum(labels["shares"]) == pytest.approx(1)
        assert reader["reader_by_truth"]["shares"][0] > system["shares"][0]
    assert len(study["study"]["pairs"]) == 10
    assert study["study"]["fleiss_presence"]["value"] > 0
    assert [one["reader"] for one in study["times"]] == [*READERS, "all"]
    assert all(0 < one["saved"] < 1 for one in study["times"])
