"""Results as DICOM objects that go back into the study: a segmentation and a measurement report.

Research use only. Both objects are preliminary, unverified, and say so.
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
    result_of,
    result_of_refusal,
)
from cmbnet.report.dicom.segmentation import build_segmentation
from cmbnet.report.dicom.structured import build_report
from cmbnet.report.dicom.write import DicomPaths, write_dicom_results

__all__ = [
    "Algorithm",
    "DicomPaths",
    "DicomResult",
    "Quality",
    "build_report",
    "build_segmentation",
    "result_of",
    "result_of_refusal",
    "write_dicom_results",
]
