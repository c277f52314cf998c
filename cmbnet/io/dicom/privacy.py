"""Keep words that name a patient out of every message, table and result file.

Folder and file names often contain the patient's name or number, and a series description is free
text. So every quoted text goes through `scrub` first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset

PATIENT_KEYWORDS = (
    "PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames",
    "PatientBirthName", "PatientMotherBirthName", "PatientAddress", "PatientTelephoneNumbers",
)  # fmt: skip
"""Keywords of the elements that name a patient."""
_SHORTEST = 3
"""Shorter parts ("Li", "7") stand in ordinary words by chance; the whole name still goes."""

_LONGEST = 512
"""Of a value that is looked at: the standard allows a name of 194 letters. A damaged header may
hold a whole image there, as a hundred thousand words."""

HIDDEN = "***"


def patient_identifiers(header: Dataset, *, shortest: int = _SHORTEST) -> frozenset[str]:
    """Return the words of a header that name the patient: whole values and their parts.

    Words are in lower case. Letters with marks come in all forms that file names use (``müller``,
    ``muller``, ``mueller``), and a birth date in the three usual orders.
    A word has at least `shortest` letters.
    """
    words: set[str] = set()
    for keyword in PATIENT_KEYWORDS:
        value = header.get(keyword)
        if value is None:
            continue
        text = str(value)[:_LONGEST].strip().lower()
        parts = [text, *re.split(r"[\^=\s\\,'\[\]]+", text)]
        if keyword == "PatientBirthDate":
            parts += _dates(text)
        words.update(way for part in parts for way in _spellings(part) if len(way) >= shortest)
    return frozenset(words)


def _dates(text: str) -> Iterator[str]:
    found = re.fullmatch(r"(\d{4})\D?(\d\d)\D?(\d\d)", text)
    if found:
        year, month, day = found.groups()
        yield from (f"{year}-{month}-{day}", f"{day}-{month}-{year}", f"{month}-{day}-{year}")


def _spellings(word: str) -> Iterator[str]:
    yield word
    if word.isascii():
        return
    german = word.translate({ord("ä"): "ae", ord("ö"): "oe", ord("ü"): "ue", ord("ß"): "ss"})
    for way in (word, german):
        letters = unicodedata.normalize("NFKD", way)
        yield letters
        yield "".join(letter for letter in letters if not unicodedata.combining(letter))


def scrub(text: str, identifiers: Iterable[str]) -> str:
    """Replace every identifier in a text, with any case and separators.

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
