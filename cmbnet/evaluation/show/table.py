"""A table once, written as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


Cell = str | int | float | Interval | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text cells."""

    title: str  # Caption of the table
    header: tuple[str, ...]  # Headings, one per column
    rows: tuple[tuple[str, ...], ...]  # Rows with one cell per column
    note: str = ""  # A sentence below the table
    # Number of columns, from the left, that hold words. The others hold numbers and are aligned to
    # the right.
    text_columns: int = 1

    @classmethod
    def of(
        cls,
        title: str,
        header: Sequence[str],
        rows: Iterable[Sequence[Cell]],
        note: str = "",
        text_columns: int = 1,
    ) -> Table:
        """Make a table of values, which `cell_text` writes.

        Raises:
            ValueError: If a row has more or fewer cells than the header.
        """
        written = tuple(tuple(cell_text(value) for value in row) for row in rows)
        odd = [row for row in written if len(row) != len(header)]
        if odd:
            raise ValueError(f"rows of {len(header)} cells are required, got {odd[0]}")
        return cls(title, tuple(header), written, note, text_columns)

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


def cell_text(value: Cell) -> str:
    """Write a value for a cell. Numbers have three digits, and ``-`` means that there is none.

    Examples:
        >>> [cell_text(one) for one in ("TP", 3, 0.72, float("nan"), None)]
        ['TP', '3', '0.720', '-', '-']
        >>> cell_text(Interval(0.1, 0.25, "BCa"))
        '0.100 to 0.250'
    """
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, Interval):
        known = not np.isnan(value.low)
        return f"{number(value.low)} to {number(value.high)}" if known else "-"
    return number(value)


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
