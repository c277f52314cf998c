"""What every result object says of itself: its series, who made it, and when.

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
    """Keyword arguments for any class of highdicom.

    Args:
        result: For its algorithm.
        source: The images that were read.
        moment: Content date and time.
        role: What the series is named by, for example ``"seg"``.
        series_number: Of the series.
        description: Of the series.
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
