"""The head of every result object: its series, its maker, and its time.

UIDs of series and objects are provisional until `name_by_content`.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from cmbnet.report.dicom.naming import uid_for

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


def head_of(
    result: DicomResult, source: DicomSource, moment: datetime.datetime, kind: str
) -> dict[str, Any]:
    """Make keyword arguments for any class of highdicom, for a kind of `SERIES`."""
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
