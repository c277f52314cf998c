"""The part of a phantom's DICOM header that all files of a series share."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.phantom.dicom_vendors import SeriesStyle, VendorStyle


@dataclass(frozen=True, slots=True)
class ScanHeader:
    """What differs from scan to scan.

    Args:
        name: Seed of all UIDs and the number of the patient that never was.
        patient_name: In the form of DICOM.
        echo_ms: Echo time.
        repetition_ms: Repetition time.
        flip_degrees: Flip angle.
        field_t: Field strength.
        date: YYYYMMDD.
        time: HHMMSS.
    """

    name: str = "PHANTOM-0"
    patient_name: str = "PHANTOM^CMBNET"
    echo_ms: float = 20.0
    repetition_ms: float = 28.0
    flip_degrees: float = 15.0
    field_t: float = 3.0
    date: str = "20260101"
    time: str = "120000"


def decimal(value: float) -> str:
    """A number in the 16 characters of a DICOM decimal string."""
    # + 0.0 turns -0.0 into 0.0; 1e-12 is below any length or cosine that means something.
    return str(format_number_as_ds(round(float(value), 10) + 0.0))


def series_header(
    style: VendorStyle, series: SeriesStyle, scan: ScanHeader, study_uid: str, series_uid: str
) -> Dataset:
    """Patient, study, series, equipment and the pixels' format."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.Modality = "MR"
    header.Manufacturer = style.manufacturer
    header.ManufacturerModelName = style.model
    header.DeviceSerialNumber = "0"
    header.SoftwareVersions = "cmbnet phantom"
    header.ImageComments = f"Digital phantom, no patient. {RESEARCH_USE_ONLY}"
    header.PatientName = scan.patient_name
    header.PatientID = scan.name
    header.PatientBirthDate = ""
    header.PatientSex = "O"
    header.PatientPosition = "HFS"
    header.BodyPartExamined = "BRAIN"
    header.StudyInstanceUID = study_uid
    header.SeriesInstanceUID = series_uid
    header.FrameOfReferenceUID = f"{study_uid}.1"
    header.PositionReferenceIndicator = ""
    header.StudyID = "1"
    header.AccessionNumber = ""
    header.ReferringPhysicianName = ""
    header.StudyDescription = "cmbnet phantom"
    header.SeriesDescription = series.description
    header.SeriesNumber = series.number
    header.AcquisitionNumber = 1
    for what in ("Study", "Series", "Acquisition", "Content"):
        setattr(header, f"{what}Date", scan.date)
        setattr(header, f"{what}Time", scan.time)
    _sequence(header, scan)
    _pixel_format(header)
    return header


def _sequence(header: Dataset, scan: ScanHeader) -> None:
    header.ScanningSequence = "GR"
    header.SequenceVariant = "SP"
    header.ScanOptions = ""
    header.MRAcquisitionType = "3D"
    header.RepetitionTime = decimal(scan.repetition_ms)
    header.EchoTime = decimal(scan.echo_ms)
    header.EchoTrainLength = 1
    header.FlipAngle = decimal(scan.flip_degrees)
    header.MagneticFieldStrength = decimal(scan.field_t)


def _pixel_format(header: Dataset) -> None:
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = 16
    header.BitsStored = 12
    header.HighBit = 11
    header.PixelRepresentation = 0
