"""UIDs of the objects, and the head of each: its series, its maker and its time.

The same content always has the same UID, and other content has another.

Of two objects with one UID, a PACS keeps the first. So a change of any byte must change the UID.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

if TYPE_CHECKING:
    from cmbnet.io.dicom import DicomSource
    from cmbnet.report.dicom.content import DicomResult

SERIES = {
    "seg": (9801, "cmbnet microbleed candidates RESEARCH ONLY"),
    "sr": (9802, "cmbnet microbleed report RESEARCH ONLY"),
    "key": (9803, "cmbnet key images RESEARCH ONLY"),
    "pdf": (9804, "cmbnet report PDF RESEARCH ONLY"),
}
"""Number and description of the series of each kind of object."""

_UID_SPACE = uuid.UUID("b3c1b0f2-5f0e-58a4-8a51-0c4f6e1d9b7a")


def uid_for(result: DicomResult, source: DicomSource, role: str) -> str:
    """Make the UID of something inside the objects, such as ``"observer"``, from images and model.

    Returns:
        ``2.25.`` and the number of a name-based UUID (PS3.5 B.2).
    """
    settings = "\n".join((result.algorithm.version, *result.algorithm.parameters))
    return _uid(
        source.study_instance_uid,
        *sorted(source.sop_instance_uids),
        *(str(number) for number in sorted(source.frame_numbers)),
        result.algorithm.model_sha256,
        hashlib.sha256(settings.encode()).hexdigest(),
        role,
    )


def name_by_content(series: Sequence[Dataset]) -> None:
    """Give finished objects of a series UIDs that are computed from their whole content.

    The content is patient, images, answer, settings, pixels, dates and versions of the writers.
    """
    content = hashlib.sha256(b"".join(encoded(one) for one in series)).hexdigest()
    for number, one in enumerate(series):
        one.SeriesInstanceUID = _uid(content, "series")
        one.SOPInstanceUID = _uid(content, str(number))
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID


def encoded(dataset: Dataset) -> bytes:
    """Return the bytes of the whole file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _uid(*name: str) -> str:
    return f"2.25.{uuid.uuid5(_UID_SPACE, chr(10).join(name)).int}"


def head_of(
    result: DicomResult, source: DicomSource, moment: datetime.datetime, kind: str
) -> dict[str, Any]:
    """Make keyword arguments for any class of highdicom, for a kind of `SERIES`.

    UIDs are provisional until `name_by_content`.
    """
    number, description = SERIES[kind]
    return {
        "series_instance_uid": uid_for(result, source, f"{kind} series"),
        "series_number": number,
        "series_description": description,
        "manufacturer": "cmbnet",
        "manufacturer_model_name": result.algorithm.model[:64],
        "software_versions": result.algorithm.version[:64],
        "content_date": moment.date(),
        "content_time": moment.time(),
        "series_date": moment.date(),
        "series_time": moment.time(),
        "specific_character_set": "ISO_IR 192",
    }
