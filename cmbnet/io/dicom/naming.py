"""A name for a DICOM input that names no patient, although its folder may.

Words of the folder's name are kept if they do not resemble name, number or birth date of a patient
in it. A hash of the study distinguishes equal names, and identifies the study to those who have it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from cmbnet.errors import CmbnetError
from cmbnet.io.dicom.dataset import read_header
from cmbnet.io.dicom.files import open_files
from cmbnet.io.dicom.privacy import HIDDEN, PATIENT_KEYWORDS, patient_identifiers, scrub
from cmbnet.io.digest import content_sha256

_DIGITS = 8
"""Of the hash: among 1000 studies of one name, two share them once in 10,000 runs."""


@dataclass(frozen=True, slots=True)
class SafeName:
    """A safe name of a DICOM input."""

    name: str  # Name of the folder of results, ``stem-1a2b3c4d``
    identifiers: frozenset[str] = field(repr=False)  # Words that name its patients, for `scrub`


def safe_name(path: Path) -> SafeName:
    """Name an input by the safe words of its folder's name, and by its study.

    If no header can be read, no word of the folder's name is kept.

    Raises:
        OSError: If the input cannot be read.
    """
    identifiers: set[str] = set()
    parts: set[str] = set()
    studies: set[str] = set()
    try:
        with open_files(path) as files:
            stem = files.name
            for file in files.files:
                try:
                    header = read_header(file, only=[*PATIENT_KEYWORDS, "StudyInstanceUID"])
                except CmbnetError:  # the reader will say so
                    continue
                identifiers |= patient_identifiers(header)
                parts |= patient_identifiers(header, shortest=1)
                studies.add(str(header.get("StudyInstanceUID", "")))
    except CmbnetError:
        stem = ""
    if not studies:
        return SafeName(f"dicom-{content_sha256(path)[:_DIGITS]}", frozenset())
    digest = hashlib.sha256("\n".join(sorted(studies)).encode()).hexdigest()
    return SafeName(f"{_stem(stem, identifiers, parts)}-{digest[:_DIGITS]}", frozenset(identifiers))


def _stem(name: str, identifiers: set[str], parts: set[str]) -> str:
    """The safe words of a name, joined by ``_``; short ones go, too, where they stand alone."""
    name = re.sub(r"\.(zip|dcm)$", "", name, flags=re.IGNORECASE)
    words = _words(scrub(name, identifiers).replace(HIDDEN, " "))
    hidden = {word for part in parts for word in _words(part)}
    return "_".join(word for word in words if word.lower() not in hidden) or "dicom"


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", text) if word]
