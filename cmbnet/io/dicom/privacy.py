"""Keep what names a patient out of every message, table and result file.

Folder and file names are often made of the patient's name or number, and a series description
is free text: whatever is quoted goes through `scrub` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydicom.dataset import Dataset

PATIENT_KEYWORDS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
)
"""What names a patient."""
_SHORTEST = 3
"""Shorter parts ("Li", "7") stand in ordinary words by chance; the whole name still goes."""

HIDDEN = "***"


def patient_identifiers(header: Dataset) -> frozenset[str]:
    """The words of a header that name the patient, lower case: whole values and their parts."""
    words: set[str] = set()
    for keyword in PATIENT_KEYWORDS:
        value = header.get(keyword)
        if value is None:
            continue
        text = str(value).strip().lower()
        parts = [text, *re.split(r"[\^=\s\\,'\[\]]+", text)]
        words.update(part for part in parts if len(part) >= _SHORTEST)
    return frozenset(words)


def scrub(text: str, identifiers: Iterable[str]) -> str:
    """Replace every identifier in a text, whatever its case or separators.

    Examples:
        >>> scrub("DOE_JANE_swi/IM0001", {"doe^jane", "doe", "jane"})
        '***_swi/IM0001'
    """
    # Longest first: a whole name goes before its parts leave a torso.
    for word in sorted(identifiers, key=len, reverse=True):
        loose = r"[\W_]*".join(re.escape(part) for part in re.split(r"[\W_]+", word) if part)
        if loose:
            text = re.sub(loose, HIDDEN, text, flags=re.IGNORECASE)
    return text
