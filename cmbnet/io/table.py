"""Tables as CSV: written so that a spreadsheet program does not execute them, and read."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from cmbnet.errors import UnreadableFile

Row = TypeVar("Row")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheet programs run text that begins like this as a formula. After a quote they show it."""


def table_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table as CSV, with a ``'`` before text that a spreadsheet program would run.

    None becomes an empty cell.

    Examples:
        >>> print(table_csv(["case", "score"], [["=1+1", -0.5]]), end="")
        case,score
        '=1+1,-0.5
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_shown(value) for value in row] for row in (columns, *rows))
    return text.getvalue()


def _shown(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_rows(path: Path, required: str, convert: Callable[[dict[str, str]], Row]) -> list[Row]:
    """Read a CSV, or a TSV if its name ends in ``.tsv``, with a line of names.

    The file is UTF-8. `required` is what it must hold, for the message. `convert` makes a row from
    the cells by the names of their columns.

    Raises:
        UnreadableFile: If the file is not a CSV, or `convert` finds a column missing or wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            reader = csv.DictReader(stream, strict=True, delimiter=delimiter)
            return [convert(row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise UnreadableFile(f"{required} are required in {path}: {error!r}") from error
