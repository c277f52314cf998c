"""Reading of DICOM: from a folder, zip or DICOMDIR to the volume of the SWI.

Importing this package imports pydicom; `cmbnet.io.detect.holds_dicom` tells without it whether
there is anything to read.
"""

from __future__ import annotations

from importlib.util import find_spec

from cmbnet.errors import MissingExtra

if find_spec("pydicom") is None:
    raise MissingExtra("pydicom", "dicom", "to read DICOM")

from cmbnet.io.dicom.kinds import ImageKind
from cmbnet.io.dicom.read import (
    Examination,
    examine_dicom,
    read_dicom,
    read_dicom_series,
    read_dicom_study,
)
from cmbnet.io.dicom.source import DicomSource
from cmbnet.io.dicom.verdict import DEFAULT_RULES, Objection, SelectionRules, SeriesVerdict

__all__ = [
    "DEFAULT_RULES",
    "DicomSource",
    "Examination",
    "ImageKind",
    "Objection",
    "SelectionRules",
    "SeriesVerdict",
    "examine_dicom",
    "read_dicom",
    "read_dicom_series",
    "read_dicom_study",
]
