"""Tables out, as CSV that a spreadsheet program only shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is run as a formula by spreadsheet programs; after a quote it is shown."""


def table_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV; what a spreadsheet program would run gets a ``'`` in front.

    Args:
        columns: Their names.
        rows: Values in the order of the columns; None stays empty.

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
