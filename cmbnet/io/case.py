"""`Case`: a named scan on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cmbnet.errors import printable


@dataclass(frozen=True, slots=True)
class Case:
    """One scan to analyse."""

    name: str  # Name of its folder in the output: letters, digits, ``_``, ``-`` and ``.``
    path: Path  # Its file. For DICOM, a folder, zip, DICOMDIR or file.
    brain_mask: Path | None = None  # File of its brain mask, or None
    phase: Path | None = None  # File of its phase, or None
    # Name in messages and tables. A DICOM file name may contain the patient's name.
    shown: str = ""
    # Words that name the patient, in lower case. No message may contain them.
    identifiers: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def label(self) -> str:
        """Name of the case in a sentence or table."""
        return self.shown or printable(self.path.name)

    @property
    def dicom(self) -> bool:
        """Whether the scan is DICOM. Only then are names hidden."""
        return bool(self.shown)

    def scrubbed(self, words: str) -> str:
        """Remove from a sentence what names the patient of a DICOM input."""
        if not self.identifiers:
            return words
        from cmbnet.io.dicom.privacy import scrub

        return scrub(words, self.identifiers)
