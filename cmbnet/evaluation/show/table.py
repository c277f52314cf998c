"""A table once, written as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmbnet.evaluation.stats.intervals import Interval

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text cells.

    Args:
        title: Caption of the table.
        header: Headings, one per column.
        rows: Rows with one cell per column.
        note: A sentence below the table.
        text_columns: Number of columns, from the left, that hold words. The others hold numbers and
            are aligned to the right.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    text_columns: int = 1

    def __post_init__(self) -> None:
        odd = [row for row in self.rows if len(row) != len(self.header)]
        if odd:
            raise ValueError(f"rows of {len(self.header)} cells are required, got {odd[0]}")

    def to_markdown(self) -> str:
        """Write the table as GitHub Markdown."""
        cells = [[cell.replace("|", "\\|") for cell in row] for row in (self.header, *self.rows)]
        rule = [":--" if words else "--:" for words in self._words()]
        lines = [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]
        note = f"\n\n{self.note}" if self.note else ""
        return f"### {self.title}\n\n" + "\n".join(lines) + note + "\n"

    def to_latex(self) -> str:
        """Write the table as a LaTeX ``table`` with ``booktabs`` rules. Cells are escaped."""
        columns = "".join("l" if words else "r" for words in self._words())
        lines = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in self.rows]
        head = " & ".join(_latex(cell) for cell in self.header) + r" \\"
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_latex(self.title)}}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                head,
                r"\midrule",
                *lines,
                r"\bottomrule",
                r"\end{tabular}",
                *([rf"\par\small {_latex(self.note)}"] if self.note else []),
                r"\end{table}",
                "",
            ]
        )

    def _words(self) -> list[bool]:
        return [index < self.text_columns for index in range(len(self.header))]


def number(value: float | None, digits: int = 3) -> str:
    """Write a number for a cell. An undefined or absent number becomes ``-``.

    Examples:
        >>> number(0.72), number(float("nan")), number(None), number(-0.0001)
        ('0.720', '-', '-', '0.000')
    """
    if value is None or np.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval_text(interval: Interval | None, digits: int = 3) -> str:
    """Write an interval for a cell.

    Examples:
        >>> interval_text(Interval(0.1, 0.25, 0.95, "BCa"))
        '0.100 to 0.250'
    """
    if interval is None or np.isnan(interval.low):
        return "-"
    return f"{number(interval.low, digits)} to {number(interval.high, digits)}"


def p_text(p: float) -> str:
    """Write a P value for a cell.

    Examples:
        >>> p_text(0.03), p_text(0.00001), p_text(float("nan"))
        ('0.030', '<0.001', '-')
    """
    return "<0.001" if p < 0.001 else number(p)


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def join_markdown(title: str, tables: Sequence[Table], foot: str) -> str:
    """Join several tables into one Markdown document."""
    return f"# {title}\n\n" + "\n".join(table.to_markdown() for table in tables) + f"\n{foot}\n"


def join_latex(tables: Sequence[Table], foot: str) -> str:
    """Join several tables into one file for LaTeX to include. The foot is a comment."""
    return f"% {foot}\n% needs booktabs\n" + "\n".join(table.to_latex() for table in tables)
