"""Tables out, as CSV that a spreadsheet program only shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is run as a formula by spreadsheet programs; after a quote it is shown."""


def table_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A table as CSV; what a spreadsheet program would run gets a ``'`` in front.

    Args:
        columns: Their names, in order.
        rows: Values by column; those that are missing stay empty.

    Raises:
        ValueError: If a row has another column.

    Examples:
        >>> print(table_csv(["case", "score"], [{"case": "=1+1", "score": -0.5}]), end="")
        case,score
        '=1+1,-0.5
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _shown(value) for name, value in row.items()} for row in rows)
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
