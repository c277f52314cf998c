"""``summary.csv`` holds a row a case, whatever was run before."""

import csv
import subprocess
import sys
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


def test_processes_that_write_at_the_same_time_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    code = """
import sys
from pathlib import Path
from cmbnet.report import fault_row, update_summary

for number in range(25):
    case = f"{sys.argv[2]}-{number}"
    row = fault_row(case, status="failed", file="", reason="", notice="")
    update_summary(Path(sys.argv[1]), [row])
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("a", "b", "c")
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    assert len(read(path)) == 75


def test_cells_that_a_spreadsheet_would_run_are_text(tmp_path: Path) -> None:
    update_summary(tmp_path / "summary.csv", [row("a", "=HYPERLINK(1)"), row("b", "-1.5")])
    update_summary(tmp_path / "summary.csv", [row("c", "@SUM(A1)")])
    reasons = [r["reason"] for r in read(tmp_path / "summary.csv")]
    assert reasons == ["'=HYPERLINK(1)", "-1.5", "'@SUM(A1)"]
