"""Tables that come with a data set: CSV, TSV and XLSX, as rows of text."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from cmbnet.errors import MissingExtra, UnreadableFile, UsageError


@dataclass(frozen=True, slots=True)
class Table:
    """A table with headings."""

    source: Path  # File of the table, for messages
    # Headings of the columns, without blanks at their ends. They may be empty.
    headings: tuple[str, ...]
    # Cells as text, without blanks at their ends. Each row has one per heading.
    rows: tuple[tuple[str, ...], ...]

    def column(self, heading: str) -> int:
        """Return the number of a column.

        Raises:
            UsageError: If no column has that heading.
        """
        if heading not in self.headings:
            raise UsageError(
                f"a column {heading!r} is required in {self.source}, got "
                f"{', '.join(h for h in self.headings if h)}"
            )
        return self.headings.index(heading)


def read_table(path: Path) -> Table:
    """Read the first sheet of a table.

    Raises:
        UnreadableFile: If the file is missing, is no table, or has another format.
        MissingExtra: If it is XLSX and openpyxl is not installed.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".xlsx":
            cells = _read_xlsx(path)
        elif kind in (".csv", ".tsv"):
            with path.open(encoding="utf-8-sig", newline="") as stream:
                cells = list(csv.reader(stream, delimiter="\t" if kind == ".tsv" else ","))
        else:
            raise UnreadableFile(f"a table must be .csv, .tsv or .xlsx, got {path}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(f"a table is required, got {path}: {error}") from error
    rows = [[cell.strip() for cell in row] for row in cells if any(cell.strip() for cell in row)]
    if not rows:
        raise UnreadableFile(f"{path} holds no headings: a table needs a line of them")
    width = max(len(row) for row in rows)
    headings, *body = (tuple(row + [""] * (width - len(row))) for row in rows)
    return Table(path, headings, tuple(body))


def _read_xlsx(path: Path) -> list[list[str]]:
    """Read the cells of the first sheet as text. Whole numbers have no point."""
    try:
        import openpyxl
        from openpyxl.utils.exceptions import InvalidFileException
    except ModuleNotFoundError as error:
        raise MissingExtra("openpyxl", "train", f"to read {path.name}") from error
    from zipfile import BadZipFile

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (BadZipFile, InvalidFileException, KeyError, ValueError) as error:
        raise UnreadableFile(f"{path} is no XLSX table: {error}") from error
    try:
        sheet = book.worksheets[0]
        return [[_text(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]
    finally:
        book.close()


def _text(cell: object) -> str:
    """Write a cell as a person would type it."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
