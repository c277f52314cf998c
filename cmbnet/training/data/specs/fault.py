"""`Fault`: one fault of a data set, and whether it would make training wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cmbnet.errors import printable

Severity = Literal["wrong", "note"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a data set."""

    code: str  # Short name, for example ``same-scan``. Faults of one kind share a code.
    # ``wrong`` if training would learn or be judged wrongly. Otherwise ``note``.
    severity: Severity
    message: str  # What was required, what was got, in which file
    case: str = ""  # Name of the case. Empty if the fault concerns the whole data set.

    def __str__(self) -> str:
        """Write the fault on one line."""
        return printable(f"{self.severity}: {self.case + ': ' if self.case else ''}{self.message}")
