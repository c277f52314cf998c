"""The PDF report as a DICOM object of the study."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from cmbnet.report.dicom.content import DicomResult, moment_of
from cmbnet.report.dicom.naming import head_of, name_by_content, uid_for
from cmbnet.report.dicom.references import reference_to_file
from cmbnet.report.dicom.source_images import forget_clock, quiet_highdicom, source_images

if TYPE_CHECKING:
    from cmbnet.io.dicom import DicomSource

TITLE = "cmbnet microbleed report, RESEARCH ONLY"


def build_document(
    pdf: bytes,
    result: DicomResult,
    source: DicomSource,
    *,
    created: datetime.datetime | None = None,
) -> Dataset:
    """Encapsulate a PDF. It names the patient, and the object says so.

    Raises:
        InputRefused: If the headers of the series are unusable.
    """
    moment = created or moment_of(source)
    reference = source_images(source)[0]
    with quiet_highdicom("a PDF"):
        document = hd.base.SOPClass(
            study_instance_uid=source.study_instance_uid,
            sop_instance_uid=uid_for(result, source, "pdf"),
            sop_class_uid=EncapsulatedPDFStorage,
            instance_number=1,
            modality="DOC",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            **head_of(result, source, moment, "pdf"),
        )
        document.copy_patient_and_study_information(reference)
        _fill(document, pdf, source)
        forget_clock(document)
        name_by_content([document])
    return document


def _fill(document: Dataset, pdf: bytes, source: DicomSource) -> None:
    """Fill the module Encapsulated Document (PS3.3 C.24.2)."""
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = moment_of(source).strftime("%Y%m%d%H%M%S")
    document.BurnedInAnnotation = "YES"
    document.DocumentTitle = TITLE
    document.ConceptNameCodeSequence = Sequence([])
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    document.SourceInstanceSequence = Sequence(
        [reference_to_file(header) for header in source.headers]
    )
