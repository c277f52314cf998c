"""Writing of tables as CSV that a spreadsheet program does not execute."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheet programs run text that begins like this as a formula. After a quote they show it."""


def table_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table as CSV, with a ``'`` before text that a spreadsheet program would run.

    Args:
        columns: Names of the columns.
        rows: Values in the order of the columns. None becomes an empty cell.

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
