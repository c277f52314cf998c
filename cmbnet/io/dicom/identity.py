"""The check for one patient and one study, in a series and in the whole input.

Messages count patients and name series and files. They never quote words that name a patient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset

from cmbnet.io.dicom.frames import Frame, text

_WHOSE = (
    ("patients", "PatientID"),
    ("patients", "PatientName"),
    ("patients", "PatientBirthDate"),
    ("studies", "StudyInstanceUID"),
)


def mixed_identity(frames: Sequence[Frame]) -> tuple[str, ...]:
    """Say why the images of a series cannot belong to one patient in one study."""
    for what, keyword in _WHOSE:
        seen: dict[str, Frame] = {}
        for frame in frames:
            seen.setdefault(_value(frame.attributes, keyword), frame)
        if len(seen) > 1:
            first, second = list(seen.values())[:2]
            return (
                f"one series names {len(seen)} {what}: {keyword} differs, for example between "
                f"{first.label} and {second.label}; sort the images by patient and study first",
            )
    return ()


def several_owners(images: Iterable[Dataset]) -> str:
    """Describe the several patients or studies of an input. Empty if there is only one.

    There are attributes of one image per series. A missing value differs from no other. Name and
    birth date distinguish patients only if none has a number.
    """
    stated: dict[str, set[str]] = {keyword: set() for _, keyword in _WHOSE}
    for attributes in images:
        for keyword, values in stated.items():
            values.add(_value(attributes, keyword))
    for values in stated.values():
        values.discard("")
    numbers = stated["PatientID"]
    patients = [numbers] if numbers else [stated["PatientName"], stated["PatientBirthDate"]]
    count = max(map(len, patients))
    if count > 1:
        return f"{count} patients"
    studies = len(stated["StudyInstanceUID"])
    return f"{studies} studies" if studies > 1 else ""


def _value(attributes: Dataset, keyword: str) -> str:
    """A value in a form in which other ways to write it are the same."""
    value = text(attributes, keyword)
    if keyword != "PatientName":
        return value
    # The alphabetic group alone: others may be left out, as may empty parts at the end.
    return value.split("=", 1)[0].rstrip("^ ").casefold()
