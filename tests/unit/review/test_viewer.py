"""Findings for Microbleed-review-viewer, and verdicts from its database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import openpyxl
import pytest
from click.testing import CliRunner

from cmbnet.cli.review import command
from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.io import read_nifti
from cmbnet.report.result import read_result
from cmbnet.review.outputs import read_review
from tests.helpers.review_results import MISSED

# The columns that the viewer's `review_store.py` makes, of the tables that hold verdicts.
SCHEMA = """
CREATE TABLE source_microbleeds (source_row INTEGER PRIMARY KEY, target_id TEXT NOT NULL UNIQUE,
    case_id TEXT NOT NULL, ras_l REAL NOT NULL, ras_p REAL NOT NULL, ras_s REAL NOT NULL);
CREATE TABLE manual_annotations (manual_id TEXT PRIMARY KEY, target_id TEXT NOT NULL UNIQUE,
    case_id TEXT NOT NULL, ras_l REAL NOT NULL, ras_p REAL NOT NULL, ras_s REAL NOT NULL);
CREATE TABLE review_annotations (review_id INTEGER PRIMARY KEY AUTOINCREMENT,
    target_id TEXT NOT NULL, case_id TEXT NOT NULL, reader_id TEXT NOT NULL,
    review_round INTEGER NOT NULL, verify INTEGER, comment TEXT, ras_l REAL, ras_p REAL, ras_s REAL,
    certainty TEXT, mimic TEXT, UNIQUE(target_id, reader_id, review_round));
"""


def run(*words: object) -> str:
    return CliRunner().invoke(command, list(map(str, words)), catch_exceptions=False).output


def database(results: Path, file: Path) -> Path:
    """Three lesions of the model, the third moved by the reader, and one that was missed."""
    lesions = read_result(results / "scan-0" / "result.json").lesions
    scan = read_nifti(results.parent / "scans" / "scan-0.nii.gz")
    z, y, x = MISSED
    missed = (scan.affine @ (z, y + 1, x + 1, 1))[:3].tolist()
    with sqlite3.connect(file) as opened:
        opened.executescript(SCHEMA)
        opened.executemany(
            "INSERT INTO source_microbleeds VALUES (?, ?, 'scan-0', ?, ?, ?)",
            [(n, f"source:{n}", *((0.0, 0.0, 0.0) if n == 3 else lesion.centre_ras_mm))
             for n, lesion in enumerate(lesions, start=1)],
        )  # fmt: skip
        opened.execute("INSERT INTO manual_annotations VALUES ('m', 'manual:m', 'scan-0', ?, ?, ?)",
                       missed)  # fmt: skip
        said = [
            ("source:1", "Ann", 1, 0, "first round", None, None, None, None, "vessel"),
            ("source:1", "Ann", 2, 1, "", None, None, None, "probable", None),
            ("source:2", "Ann", 1, 0, "=SUM(1)", None, None, None, None, "vessel"),
            ("source:3", "Ann", 1, 0, "", *lesions[2].centre_ras_mm, None, "iron deposition"),
            ("manual:m", "Ann", 1, 1, "seen late", None, None, None, "definite", None),
            ("source:1", "Ben", 1, 0, "", None, None, None, None, None),
        ]
        opened.executemany(
            "INSERT INTO review_annotations (target_id, case_id, reader_id, review_round, verify, "
            "comment, ras_l, ras_p, ras_s, certainty, mimic) "
            "VALUES (?, 'scan-0', ?, ?, ?, ?, ?, ?, ?, ?, ?)", said,
        )  # fmt: skip
    opened.close()
    return file


def test_verdicts_come_in_and_findings_go_out(results: Path, tmp_path: Path) -> None:
    file = database(results, tmp_path / "reviews.sqlite")
    assert run(results, "--reader", "Ann", "--import", file) == "scan-0: finished\n"
    (case,) = read_review(results / "reviews" / "Ann").cases
    first, second, third, added = case.verdicts
    assert (first.judgement, first.certainty) == ("accept", "possible"), "the last round counts"
    assert (second.judgement, second.kind, second.note) == ("reject", "vein", "=SUM(1)")
    assert (third.judgement, third.kind) == ("reject", "other"), "found where the reader moved it"
    assert (added.source, added.judgement, added.note) == ("reader", "accept", "seen late")
    told = run(results, "--reader", "Ann", "--import", file)
    assert told == "scan-0: left alone, its review was begun before\n"

    workbook = tmp_path / "findings.xlsx"
    assert run(results, "--reader", "Ann", "--export", workbook).startswith("4 findings: ")
    head, *rows = openpyxl.load_workbook(workbook)["MCH-microhemorrage"].iter_rows()
    names = [cell.value for cell in head]
    wanted = {"subjectid", "RAS L-R L", "RAS P-A A", "RAS I-S S", "verify (yes=1)"}
    assert wanted <= set(names), "the columns that the viewer requires"
    cells = [dict(zip(names, row, strict=True)) for row in rows]
    assert [row["verify (yes=1)"].value for row in cells] == [1, 0, 0, 1]
    assert [row[name].value for row in cells[:1] for name in names[1:4]] == pytest.approx(
        first.centre_ras_mm, abs=0.01
    )
    assert cells[1]["comments"].data_type == "s", "text, and no formula"


def test_what_is_open_stays_open(results: Path, tmp_path: Path) -> None:
    file = database(results, tmp_path / "reviews.sqlite")
    with sqlite3.connect(file) as opened:
        opened.execute("UPDATE review_annotations SET verify = NULL WHERE target_id = 'source:3'")
    opened.close()
    told = run(results, "--reader", "Ann", "--import", file)
    assert told == "scan-0: 2 verdicts are still open\n"
    assert read_review(results / "reviews" / "Ann").cases == ()


def test_what_is_no_such_database_is_refused(results: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database")
    with pytest.raises(UnreadableFile, match="a database of Microbleed-review-viewer is required"):
        run(results, "--reader", "Ann", "--import", tmp_path / "text")
    with pytest.raises(InputRefused, match=r"verdicts of Cyd are required .* some of: Ann, Ben"):
        run(results, "--reader", "Cyd", "--import", database(results, tmp_path / "reviews.sqlite"))
