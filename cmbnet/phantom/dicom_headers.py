"""The part of a phantom's DICOM header that all files of a series share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.phantom.dicom_vendors import SeriesStyle, VendorStyle


@dataclass(frozen=True, slots=True)
class ScanHeader:
    """What differs from scan to scan."""

    name: str = "PHANTOM-0"  # Seed of all UIDs and the number of the patient that never was
    patient_name: str = "PHANTOM^CMBNET"  # In the form of DICOM
    echo_ms: float = 20.0  # Echo time
    repetition_ms: float = 28.0  # Repetition time
    flip_degrees: float = 15.0  # Flip angle
    field_t: float = 3.0  # Field strength
    date: str = "20260101"  # YYYYMMDD
    time: str = "120000"  # HHMMSS


def decimal(value: float) -> str:
    """Write a number in the 16 characters of a DICOM decimal string."""
    # + 0.0 turns -0.0 into 0.0; 1e-12 is below any length or cosine that means something.
    return str(format_number_as_ds(round(float(value), 10) + 0.0))


def item(**values: Any) -> Dataset:
    """Make a data set, or an item of a sequence, from keywords and values."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def series_header(
    style: VendorStyle, series: SeriesStyle, scan: ScanHeader, study_uid: str, series_uid: str
) -> Dataset:
    """Make the header: patient, study, series, equipment, sequence and format of the pixels."""
    kinds = ("Study", "Series", "Acquisition", "Content")
    return item(
        SpecificCharacterSet="ISO_IR 100", Modality="MR",
        Manufacturer=style.manufacturer, ManufacturerModelName=style.model,
        DeviceSerialNumber="0", SoftwareVersions="cmbnet phantom",
        ImageComments=f"Digital phantom, no patient. {RESEARCH_USE_ONLY}",
        PatientName=scan.patient_name, PatientID=scan.name, PatientBirthDate="", PatientSex="O",
        PatientPosition="HFS", BodyPartExamined="BRAIN",
        StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid,
        FrameOfReferenceUID=f"{study_uid}.1", PositionReferenceIndicator="",
        StudyID="1", AccessionNumber="", ReferringPhysicianName="",
        StudyDescription="cmbnet phantom", SeriesDescription=series.description,
        SeriesNumber=series.number, AcquisitionNumber=1,
        **{f"{kind}Date": scan.date for kind in kinds},
        **{f"{kind}Time": scan.time for kind in kinds},
        ScanningSequence="GR", SequenceVariant="SP", ScanOptions="", MRAcquisitionType="3D",
        RepetitionTime=decimal(scan.repetition_ms), EchoTime=decimal(scan.echo_ms),
        EchoTrainLength=1, FlipAngle=decimal(scan.flip_degrees),
        MagneticFieldStrength=decimal(scan.field_t),
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", BitsAllocated=16,
        BitsStored=12, HighBit=11, PixelRepresentation=0,
    )  # fmt: skip
