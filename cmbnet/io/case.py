"""`Case`: a named scan on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cmbnet.errors import printable


@dataclass(frozen=True, slots=True)
class Case:
    """One scan that is to be looked at.

    Args:
        name: Name of its folder in the output: letters, digits, ``_``, ``-`` and ``.``.
        path: Its file; for DICOM a folder, zip, DICOMDIR or file.
        brain_mask: File of its brain mask, or None.
        shown: What messages and tables call it instead of its file name, which for DICOM may be
            made of the patient's.
        identifiers: What names the patient, lower case; nothing that is said of the case may
            hold any of it.
    """

    name: str
    path: Path
    brain_mask: Path | None = None
    shown: str = ""
    identifiers: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def label(self) -> str:
        """What to call it in a sentence or table."""
        return self.shown or printable(self.path.name)

    @property
    def dicom(self) -> bool:
        """Whether it is DICOM: only then is there something to hide, and a name for it."""
        return bool(self.shown)
