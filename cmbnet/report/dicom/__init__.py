"""Results as DICOM objects for the study: a segmentation and a measurement report.

Key images and a PDF are for viewers that show neither. Research use only. Every object says that it
is preliminary and unverified, unless a reader who has reviewed it says otherwise by name.
"""

from __future__ import annotations

from importlib.util import find_spec

from cmbnet.errors import MissingExtra

if find_spec("highdicom") is None:
    raise MissingExtra("highdicom", "dicom", "to write DICOM SEG and SR")

from cmbnet.report.dicom.content import (
    Algorithm,
    DicomResult,
    Quality,
    TimePoint,
    Verification,
    result_of,
    result_of_refusal,
)
from cmbnet.report.dicom.document import build_document
from cmbnet.report.dicom.key_images import (
    MOST_KEY_IMAGES,
    KeyPicture,
    build_key_images,
    draw_key_pictures,
)
from cmbnet.report.dicom.segmentation import build_segmentation, tracking_of
from cmbnet.report.dicom.structured import build_report
from cmbnet.report.dicom.write import DicomPaths, write_dicom_results

__all__ = [
    "MOST_KEY_IMAGES",
    "Algorithm",
    "DicomPaths",
    "DicomResult",
    "KeyPicture",
    "Quality",
    "TimePoint",
    "Verification",
    "build_document",
    "build_key_images",
    "build_report",
    "build_segmentation",
    "draw_key_pictures",
    "result_of",
    "result_of_refusal",
    "tracking_of",
    "write_dicom_results",
]
