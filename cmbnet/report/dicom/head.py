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


def head_of(
    result: DicomResult,
    source: DicomSource,
    moment: datetime.datetime,
    *,
    role: str,
    series_number: int,
    description: str,
) -> dict[str, Any]:
    """Make keyword arguments for any class of highdicom.

    Args:
        result: Result whose algorithm is stated.
        source: The images that were read.
        moment: Content date and time.
        role: Name of the role of the series, for example ``"seg"``.
        series_number: Number of the series.
        description: Description of the series.
    """
    return {
        "series_instance_uid": uid_for(result, source, f"{role} series"),
        "series_number": series_number,
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
