from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.shares import keep_shares
from cmbnet.bundle import Bundle, Measured, load_bundle
from cmbnet.bundle.card import FIGURES, SHARES_SCHEMA, CardContent, model_card
from cmbnet.bundle.manifest import ChosenOn
from cmbnet.cli.card import command, read_results
from cmbnet.errors import CmbnetError, InputRefused, UnreadableFile
from cmbnet.evaluation.cohort.origin import THRESHOLDS
from cmbnet.evaluation.show.results import SCHEMA

ROOT = Path(__file__).parents[3]
EVIDENCE = ROOT / "benchmarks" / "card"


SCANS = tuple(f"{n:064x}" for n in range(30))
"""Hashes of scans."""


def results(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    """As much of a results.json as a card needs: 10 patients with lesions, 20 controls."""
    interval = {"low": 0.7, "high": 0.9}
    values = dict.fromkeys(FIGURES, 0.8) | {"dice": 0.75}
    point = bundle.operating_point()
    model = {"bundle": "tiny", "bundle_sha256": bundle.sha256, "operating_point": point.name}
    cohort = {"scans": 30, "patients": 30, "patients_with_lesions": 10, "controls": 20}
    return {
        "schema": SCHEMA,
        "cmbnet": "0.0",
        "data": {
            "kind": "phantoms",
            "cases": [{"case": s[-2:], "patient": s[-2:], "input_sha256": s} for s in SCANS],
        },
        "model": model | {name: getattr(point, name) for name in THRESHOLDS},
        "settings": {"rule": "paper:0.4"},
        "cohort": cohort | {"true_lesions": 33},
        "metrics": [
            {"name": k, "value": v, "interval": interval, "wilson": interval}
            for k, v in values.items()
        ],
        "areas": [{"name": "lesion_auc", "value": 0.95, "bootstrap": interval}],
        "strata": [{"kind": "true lesions per patient", "name": "0", "fp_per_scan": 0.05}],
        "patient_thresholds": [
            {"threshold": 0.9, "tp": 4.0, "fp": 0.0},
            {"threshold": 0.6, "tp": 10.0, "fp": 1.0},
            {"threshold": 0.55, "tp": 10.0, "fp": 9.0},
        ],
    } | changes


def card_of(bundle: Bundle, *, paper: bool = False, **changes: Any) -> str:
    return model_card(bundle, CardContent(results=results(bundle, **changes), paper=paper))


def row(card: str, title: str) -> list[str]:
    line = next(line for line in card.splitlines() if line.startswith(f"| {title}"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_a_figure_stands_with_its_interval_and_nothing_is_called_reached(
    tiny_bundle: Bundle,
) -> None:
    card = card_of(tiny_bundle)
    assert row(card, "pixel Dice") == ["0.750", "0.70-0.90"]
    assert row(card, "lesion ROC AUC") == ["0.950", "0.70-0.90"]
    assert row(card, "false lesions per control") == ["0.050", "-"]
    for word in ("reached", "bar", "at least", "paper, patients", "chosen by them"):
        assert word not in card


def test_the_papers_column_is_there_when_asked_for(tiny_bundle: Bundle) -> None:
    card = card_of(tiny_bundle, paper=True)
    assert row(card, "pixel Dice") == ["0.720", "0.750", "0.70-0.90"]
    assert "another task" in card


def test_patients_are_patients_and_scans_are_scans(tiny_bundle: Bundle) -> None:
    cohort = {"scans": 45, "patients": 30, "patients_with_lesions": 10, "controls": 20}
    card = card_of(tiny_bundle, cohort=cohort | {"true_lesions": 33})
    assert "45 digital phantoms (30 persons): 10 with 33 lesions, 20 without." in card


def test_the_area_is_that_of_the_results_that_hold_more_candidates(tiny_bundle: Bundle) -> None:
    area = {"name": "lesion_auc", "value": 0.9, "bootstrap": {"low": 0.85, "high": 0.93}}
    settings = {"rule": "paper:0.4", "probability_threshold": 0.1}
    anew = {"bundle": "tiny", "bundle_sha256": tiny_bundle.sha256, "operating_point": None}
    other = results(tiny_bundle, areas=[area], metrics=[], settings=settings, model=anew)
    card = model_card(tiny_bundle, CardContent(results=results(tiny_bundle), curves=other))
    assert row(card, "lesion ROC AUC") == ["0.900", "0.85-0.93"]
    assert row(card, "pixel Dice")[0] == "0.750"
    assert "probability maps show at a threshold of 0.1" in card
    of_others = other | {"data": {"kind": "phantoms", "cases": []}}
    with pytest.raises(InputRefused, match="curves must be of the cases of the results"):
        model_card(tiny_bundle, CardContent(results=results(tiny_bundle), curves=of_others))


def test_patients_are_judged_at_the_patient_threshold(tiny_bundle: Bundle) -> None:
    """It is 0.6 in the tiny bundle: 1 of 20 controls, no patient missed; Wilson by hand."""
    card = card_of(tiny_bundle)
    assert row(card, "controls with a false alarm") == ["0.050", "0.01-0.24"]
    assert row(card, "patients missed") == ["0.000", "0.00-0.28"]


def test_above_every_score_all_patients_are_missed(tiny_bundle: Bundle) -> None:
    low = [{"threshold": 0.5, "tp": 10.0, "fp": 3.0}]
    card = card_of(tiny_bundle, patient_thresholds=low)
    assert row(card, "controls with a false alarm")[0] == "0.000"
    assert row(card, "patients missed") == ["1.000", "0.72-1.00"]


def test_what_was_not_measured_is_a_dash(tiny_bundle: Bundle) -> None:
    card = card_of(tiny_bundle, areas=[], strata=[], metrics=[], patient_thresholds=None)
    for title in ("lesion ROC AUC", "false lesions per control", "patients missed"):
        assert row(card, title) == ["-", "-"]
    assert row(card, "`balanced` (default)") == ["0.5 / 0.5 / 0.6", "-", "-", "-", "-", "-"]


def altered(model: Any, **changes: Any) -> dict[str, Any]:
    return {**model, **changes}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"bundle_sha256": "0" * 64}, "are of the bundle tiny with the SHA-256 0000"),
        ({"operating_point": "none-such"}, "operating point 'none-such' is not in bundle"),
        ({"operating_point": "strict"}, "another pixel_threshold than the operating point strict"),
        ({"operating_point": None}, "has no operating point"),
        ({"patient_threshold": 0.1}, "another patient_threshold"),
    ],
)
def test_results_of_another_model_are_refused(
    tiny_bundle: Bundle, changes: dict[str, Any], match: str
) -> None:
    model = altered(results(tiny_bundle)["model"], **changes)
    with pytest.raises(CmbnetError, match=match):
        card_of(tiny_bundle, model=model)
    other = results(tiny_bundle, model=model)
    with pytest.raises(CmbnetError, match=match):
        model_card(tiny_bundle, CardContent(elsewhere={"on Mars": other}))


def test_results_that_name_no_bundle_are_refused_or_said_to_name_none(
    tiny_bundle: Bundle,
) -> None:
    nameless = results(tiny_bundle, model=None)
    with pytest.raises(InputRefused, match="the results do not record which bundle"):
        model_card(tiny_bundle, CardContent(results=nameless))
    card = model_card(tiny_bundle, CardContent(results=nameless, unrecorded=True))
    assert "do not record the hash of their bundle" in card
    assert "The operating point is not recorded." in card


def test_the_operating_point_is_the_one_that_was_used(tiny_bundle: Bundle) -> None:
    """Of `strict` the patient threshold differs, and with it the patients."""
    point = tiny_bundle.operating_point("strict")
    model = altered(
        results(tiny_bundle)["model"],
        operating_point="strict",
        **{name: getattr(point, name) for name in THRESHOLDS},
    )
    card = card_of(tiny_bundle, model=model)
    assert "The operating point is `strict`." in card
    assert point.patient_threshold > 0.6
    assert row(card, "patients missed")[0] == "1.000"


def chosen_on(bundle: Bundle, scans: tuple[str, ...]) -> Bundle:
    training = bundle.manifest.training.model_copy(
        update={"chosen_on": ChosenOn(data_kind="phantoms", scans=scans)}
    )
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"training": training}))


def test_whether_thresholds_were_chosen_by_these_scans_is_looked_up(tiny_bundle: Bundle) -> None:
    assert "not recorded whether thresholds were chosen" in card_of(tiny_bundle)
    some = chosen_on(tiny_bundle, (*SCANS[:7], "f" * 64))
    assert "**Thresholds were chosen on 7 of these scans**" in card_of(some)
    others = chosen_on(tiny_bundle, ("f" * 64,))
    assert "Thresholds were chosen on 1 other scans." in card_of(others)
    data = {"kind": "phantoms", "cases": [{"case": "a", "patient": "a", "input_sha256": ""}]}
    assert "not recorded whether thresholds were chosen" in card_of(some, data=data)


@pytest.mark.parametrize(
    ("kind", "words"), [("patients", "scans of patients"), ("planted", "simulated microbleeds")]
)
def test_the_kind_of_data_stands_in_the_card(tiny_bundle: Bundle, kind: str, words: str) -> None:
    card = card_of(tiny_bundle, data=results(tiny_bundle)["data"] | {"kind": kind})
    assert f"30 {words}" in card or words in card
    assert ("is **unknown**" in card) == (kind != "patients")
    with pytest.raises(InputRefused, match="do not say what kind of data"):
        card_of(tiny_bundle, data={"kind": None, "cases": []})


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
    card = model_card(replace(tiny_bundle, manifest=manifest))
    assert row(card, "`strict`")[1:] == ["0.500 (0.25-0.75)", "-", "1.500", "-", "0.000"]
    assert "(c: 3 with and 0 without microbleeds)" in card


def test_the_command_writes_the_card(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(results(tiny_bundle)))
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


def counted(bundle: Bundle, file: Path, run: str, hits: int) -> Any:
    keep_shares(
        file, run, {"found": (hits, 10), "none": (0, 0)}, where="in follow-up", about="Two heads.",
        bundle=bundle,
    )  # fmt: skip
    return read_results(file, SHARES_SCHEMA)


def test_what_benchmarks_counted_is_added_up_and_shown_with_intervals(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """Wilson's interval of 17 of 20 is .640 to .948."""
    file = tmp_path / "follow-up.json"
    counted(tiny_bundle, file, "--seed 1", 8)
    both = counted(tiny_bundle, file, "--seed 2", 9)
    card = model_card(tiny_bundle, CardContent(shares=[both]))
    assert "## What was measured in follow-up" in card
    assert "The scans are digital phantoms. Two heads." in card
    assert row(card, "found") == ["17 of 20", "0.850", "0.64-0.95"]
    assert "none" not in both["shares"]  # of nothing, no share can be told
    with pytest.raises(ValueError, match="other than '--seed 2' are required"):
        counted(tiny_bundle, file, "--seed 2", 9)
    other = both | {"model": {"bundle": "tiny", "bundle_sha256": "0" * 64}}
    with pytest.raises(InputRefused, match="the figures in follow-up are of the bundle"):
        model_card(tiny_bundle, CardContent(shares=[other]))
    without = CardContent(shares=[both | {"model": None}])
    assert model_card(tiny_bundle, without) == card
    arguments = [str(tiny_bundle.path), "--shares", str(file)]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).output == card


@pytest.mark.parametrize("content", ["[]", "{", '{"schema": "other/1"}'])
def test_a_file_that_holds_no_results_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(UnreadableFile, match="required"):
        CliRunner().invoke(
            command, ["default", "--results", str(tmp_path / "r.json")], catch_exceptions=False
        )


def test_the_card_in_the_repository_is_that_of_the_default_bundle() -> None:
    """When it fails: ``make card``."""
    names = ("test-cohort", "another-simulator", "gaps", "out-of-distribution")
    test, rival, gaps, outside = (read_results(EVIDENCE / f"{name}.json") for name in names)
    content = CardContent(
        results=test,
        elsewhere={
            "on another simulator": rival,
            "on thick slices with gaps between them": gaps,
            "outside the range of training": outside,
        },
        shares=[
            read_results(file, SHARES_SCHEMA) for file in sorted((EVIDENCE / "shares").glob("*"))
        ],
        notes=(EVIDENCE / "notes.md").read_text(encoding="utf-8"),
    )
    card = model_card(load_bundle("default"), content)
    assert (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8") == card
