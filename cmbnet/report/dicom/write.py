"""Write results as DICOM files. Each file is whole or absent."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from cmbnet.errors import InputRefused
from cmbnet.io.atomic import write_bytes_atomically
from cmbnet.io.dicom import DicomSource
from cmbnet.report.dicom.content import DicomResult
from cmbnet.report.dicom.document import build_document
from cmbnet.report.dicom.key_images import KeyPicture, build_key_images
from cmbnet.report.dicom.naming import encoded
from cmbnet.report.dicom.segmentation import build_segmentation
from cmbnet.report.dicom.source_images import quiet_highdicom
from cmbnet.report.dicom.structured import build_report


@dataclass(frozen=True, slots=True)
class DicomPaths:
    """The written files."""

    report: Path | None  # The structured report. None if it was not asked for.
    segmentation: Path | None  # None without findings, or if it was not asked for
    key_images: tuple[Path, ...] = ()  # One picture per lesion
    document: Path | None = None  # The PDF, or None

    @property
    def all(self) -> tuple[Path, ...]:
        """All files in the order of sending, with referenced files first."""
        single = (self.segmentation, self.report, *self.key_images, self.document)
        return tuple(path for path in single if path is not None)


def write_dicom_results(
    result: DicomResult,
    source: DicomSource,
    directory: Path,
    *,
    seg: bool = True,
    report: bool = True,
    key_pictures: Sequence[KeyPicture] = (),
    pdf: bytes | None = None,
    created: datetime.datetime | None = None,
) -> DicomPaths:
    """Write ``seg.dcm``, ``sr.dcm``, ``key-01.dcm``... and ``pdf.dcm`` into a folder.

    If both are written, the report refers to the segmentation. Otherwise it refers only to images.

    Args:
        result: The result to write.
        source: The images that were read.
        directory: Folder to write to. It is made if it is missing.
        seg: Whether to write the segmentation. Without findings there is none.
        report: Whether to write the structured report.
        key_pictures: Pictures of the key images.
        pdf: A document to encapsulate.
        created: Content date and time. The default is that of the images, so every run on them
            gives the same bytes.

    Raises:
        InputRefused: If the series states no frame of reference, or its headers are unusable.
        UsageError: If the labels lie on another grid.
    """
    segmentation = report_path = seg_path = pdf_path = None
    if result.segmented and seg:
        segmentation = build_segmentation(result, source, created=created)
    if report:
        sr = build_report(result, source, segmentation, created=created)
        report_path = _write(sr, directory / "sr.dcm")
    if segmentation is not None:
        seg_path = _write(segmentation, directory / "seg.dcm")
    key_images = build_key_images(key_pictures, result, source, created=created)
    key_paths = tuple(
        _write(image, directory / f"key-{number:02d}.dcm")
        for number, image in enumerate(key_images, start=1)
    )
    if pdf is not None:
        document = build_document(pdf, result, source, created=created)
        pdf_path = _write(document, directory / "pdf.dcm")
    return DicomPaths(report_path, seg_path, key_paths, pdf_path)


def _write(dataset: Dataset, path: Path) -> Path:
    with quiet_highdicom(path.name):
        content = encoded(dataset)
    if not content:
        raise InputRefused(f"nothing was encoded for {path.name}")
    write_bytes_atomically(path, content)
    return path
