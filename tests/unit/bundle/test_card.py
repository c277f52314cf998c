from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cmbnet.bundle import Bundle, Measured, load_bundle
from cmbnet.bundle.card import BARS, model_card
from cmbnet.cli.card import command
from cmbnet.errors import UnreadableFile

ROOT = Path(__file__).parents[3]
EVIDENCE = ROOT / "benchmarks" / "card"


def results(**changes: Any) -> dict[str, Any]:
    """As much of a results.json as a card needs: 10 patients with lesions, 20 controls."""
    interval = {"low": 0.7, "high": 0.9}
    values = {bar.name: 0.8 for bar in BARS} | {"dice": 0.75, "precision": 0.749}
    return {
        "schema": "cmbnet-evaluation/1",
        "cmbnet": "0.0",
        "settings": {"rule": "paper:0.4"},
        "cohort": {"patients_with_lesions": 10, "controls": 20, "true_lesions": 33},
        "metrics": [{"name": k, "value": v, "interval": interval} for k, v in values.items()],
        "areas": [{"name": "lesion_auc", "value": 0.95, "bootstrap": interval}],
        "strata": [{"kind": "true lesions per patient", "name": "0", "fp_per_scan": 0.05}],
        "patient_thresholds": [
            {"threshold": 0.9, "tp": 4.0, "fp": 0.0},
            {"threshold": 0.6, "tp": 10.0, "fp": 1.0},
            {"threshold": 0.55, "tp": 10.0, "fp": 9.0},
        ],
    } | changes


def row(card: str, title: str) -> list[str]:
    line = next(line for line in card.splitlines() if line.startswith(f"| {title}"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_a_bar_is_reached_from_its_value_on(tiny_bundle: Bundle) -> None:
    card = model_card(tiny_bundle, results=results())
    assert row(card, "pixel Dice") == ["0.720", "at least 0.750", "0.750", "0.70-0.90", "yes"]
    assert row(card, "pixel precision")[-1] == "**no**"
    assert row(card, "lesion ROC AUC")[2:] == ["0.950", "0.70-0.90", "yes"]
    assert row(card, "false lesions per control")[1:] == ["at most 0.150", "0.050", "-", "yes"]


def test_the_area_is_that_of_the_results_that_hold_more_candidates(tiny_bundle: Bundle) -> None:
    area = {"name": "lesion_auc", "value": 0.9, "bootstrap": {"low": 0.85, "high": 0.93}}
    settings = {"rule": "paper:0.4", "probability_threshold": 0.1}
    other = results(areas=[area], metrics=[], settings=settings)
    card = model_card(tiny_bundle, results=results(), curves=other)
    assert row(card, "lesion ROC AUC")[2:] == ["0.900", "0.85-0.93", "**no**"]
    assert row(card, "pixel Dice")[2] == "0.750"
    assert "maps hold from 0.1 on" in card


def test_patients_are_judged_at_the_patient_threshold(tiny_bundle: Bundle) -> None:
    """It is 0.6 in the tiny bundle: 1 of 20 controls, no patient missed; Wilson by hand."""
    card = model_card(tiny_bundle, results=results())
    assert row(card, "controls called positive")[2:] == ["0.050", "0.01-0.24", "yes"]
    assert row(card, "patients with lesions")[2:] == ["0.000", "0.00-0.28", "yes"]


def test_above_every_score_all_patients_are_missed(tiny_bundle: Bundle) -> None:
    low = [{"threshold": 0.5, "tp": 10.0, "fp": 3.0}]
    card = model_card(tiny_bundle, results=results(patient_thresholds=low))
    assert row(card, "controls called positive")[2] == "0.000"
    assert row(card, "patients with lesions")[2:] == ["1.000", "0.72-1.00", "**no**"]


def test_what_was_not_measured_is_a_dash(tiny_bundle: Bundle) -> None:
    card = model_card(tiny_bundle, results=results(areas=[], strata=[], patient_thresholds=None))
    for title in ("lesion ROC AUC", "false lesions per control", "controls called positive"):
        assert row(card, title)[2:] == ["-", "-", "-"]
    assert row(card, "`balanced` (default)") == ["0.5 / 0.5 / 0.6", "-", "-", "-", "-", "-"]


def test_a_point_shows_its_intervals(tiny_bundle: Bundle) -> None:
    measured = Measured(
        cohort="c",
        n_positive=3,
        n_negative=0,
        sensitivity=0.5,
        precision=None,
        false_positives_per_scan=1.5,
        patient_fpr=None,
        patient_fnr=0.0,
        intervals={"sensitivity": (0.25, 0.75)},
    )
    points = tuple(
        p.model_copy(update={"measured": measured}) for p in tiny_bundle.manifest.operating_points
    )
    manifest = tiny_bundle.manifest.model_copy(update={"operating_points": points})
    card = model_card(Bundle(tiny_bundle.path, manifest, tiny_bundle.sha256))
    assert row(card, "`strict`")[1:] == ["0.500 (0.25-0.75)", "-", "1.500", "-", "0.000"]
    assert "(c: 3 with and 0 without microbleeds)" in card


def test_the_command_writes_the_card(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(results()))
    (tmp_path / "n.md").write_text("## Limits\nNone known.\n")
    arguments = [
        str(tiny_bundle.path), "--results", str(tmp_path / "r.json"),
        "--elsewhere", "on the moon", str(tmp_path / "r.json"),
        "--elsewhere", "on Mars", str(tmp_path / "r.json"), "--notes", str(tmp_path / "n.md"),
    ]  # fmt: skip
    shown = CliRunner().invoke(command, arguments, catch_exceptions=False).output
    CliRunner().invoke(command, [*arguments, "-o", str(tmp_path / "c.md")], catch_exceptions=False)
    assert (tmp_path / "c.md").read_text() == shown
    assert "Research use only" in shown
    assert "## What was measured on the moon" in shown
    assert "## What was measured on Mars" in shown
    assert shown.endswith("## Limits\nNone known.\n")


@pytest.mark.parametrize("content", ["[]", "{", '{"schema": "other/1"}'])
def test_a_file_that_holds_no_results_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(UnreadableFile, match="required"):
        CliRunner().invoke(
            command, ["default", "--results", str(tmp_path / "r.json")], catch_exceptions=False
        )


def test_the_card_in_the_repository_is_that_of_the_default_bundle() -> None:
    """When it fails: ``make card``."""
    measured = {
        name: json.loads((EVIDENCE / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("test-cohort", "test-cohort-maps", "gaps", "out-of-distribution")
        if (EVIDENCE / f"{name}.json").is_file()
    }
    elsewhere = {
        "on thick slices with gaps between them": measured.get("gaps"),
        "outside the range of training": measured.get("out-of-distribution"),
    }
    notes = (EVIDENCE / "notes.md").read_text(encoding="utf-8")
    card = model_card(
        load_bundle("default"),
        results=measured.get("test-cohort"),
        curves=measured.get("test-cohort-maps"),
        elsewhere={words: found for words, found in elsewhere.items() if found is not None},
        notes=notes,
    )
    assert (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8") == card
