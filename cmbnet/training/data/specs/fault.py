"""`Fault`: one thing that is odd about a data set, and whether training would be wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cmbnet.errors import printable

Severity = Literal["wrong", "note"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is odd.

    Args:
        code: Short name, ``missing-label`` for example; the same kind has the same code.
        severity: ``wrong`` if training would learn or be judged wrongly, else ``note``.
        message: What was required, what was got, in which file.
        case: Name of the case; empty if the whole data set is meant.
    """

    code: str
    severity: Severity
    message: str
    case: str = ""

    def __str__(self) -> str:
        """One line."""
        return printable(f"{self.severity}: {self.case + ': ' if self.case else ''}{self.message}")
