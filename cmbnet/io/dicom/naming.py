"""A name for a DICOM input that names no patient, though its folder may.

The folder's name is kept as far as nothing in it resembles name, number or birth date of a patient
in it; a hash of the study tells equal ones apart, and says which study it was to whoever has it.
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
    """What a DICOM input may be called.

    Args:
        name: Harmless as a folder; ``stem-1a2b3c4d``.
        identifiers: What names its patients, for `scrub`.
    """

    name: str
    identifiers: frozenset[str] = field(repr=False)


def safe_name(path: Path) -> SafeName:
    """Name an input by what of its folder's name is safe, and by its study.

    Args:
        path: Folder, zip, DICOMDIR or file. Where none of its headers can be read, the name
            keeps nothing of the folder's.

    Raises:
        OSError: If it cannot be read.
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
