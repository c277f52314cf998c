"""``summary.csv`` holds a row a case, whatever was run before."""

import csv
from pathlib import Path

import pytest

from cmbnet.errors import UnreadableFile
from cmbnet.report import fault_row, update_summary


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def row(case: str, reason: str = "") -> dict[str, object]:
    return fault_row(case, status="refused", file=f"{case}.nii", reason=reason, notice="research")


def test_rows_are_added_replaced_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    update_summary(path, [row("b"), row("a")])
    update_summary(path, [row("c"), row("b", "new")])
    assert [(r["case"], r["reason"]) for r in read(path)] == [("a", ""), ("b", "new"), ("c", "")]


def test_a_case_without_answer_has_no_count(tmp_path: Path) -> None:
    update_summary(tmp_path / "summary.csv", [row("a", 'commas, "quotes"\nand lines')])
    (only,) = read(tmp_path / "summary.csv")
    assert only["lesions"] == only["positive"] == ""
    assert only["reason"] == 'commas, "quotes"\nand lines'


def test_a_file_that_is_no_summary_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_text("my,own\n1,2\n")
    with pytest.raises(UnreadableFile, match="is no summary of this version"):
        update_summary(path, [row("a")])
    assert path.read_text() == "my,own\n1,2\n"
