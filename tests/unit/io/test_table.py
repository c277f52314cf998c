"""Tables: what a spreadsheet program would run is text, in every CSV that is written."""

import csv
import io
import re
from pathlib import Path

import pytest

import cmbnet
from cmbnet.io import table_csv


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("'=1", "'=1"),
        ("a=1", "a=1"),
        ("-1.5", "-1.5"),
        ("+2e-3", "+2e-3"),
        (-1.5, "-1.5"),
        (None, ""),
        ("", ""),
    ],
)
def test_formulas_are_text_and_numbers_are_numbers(value: object, cell: str) -> None:
    assert list(csv.reader(io.StringIO(table_csv(["=a"], [[value]])))) == [["'=a"], [cell]]


def test_no_other_part_of_the_package_writes_csv() -> None:
    package = Path(cmbnet.__file__).parent
    writers = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if re.search(r"csv\.(Dict)?[wW]riter", file.read_text(encoding="utf-8"))
    }
    assert writers == {"io/table.py"}
