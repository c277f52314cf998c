"""`Case`: a named scan on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    """One scan that is to be looked at.

    Args:
        name: Name of its folder in the output: letters, digits, ``_``, ``-`` and ``.``.
        path: Its file.
        brain_mask: File of its brain mask, or None.
    """

    name: str
    path: Path
    brain_mask: Path | None = None
