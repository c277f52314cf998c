"""The PDF: the same every time, as many pages as it needs, whatever letters a name holds."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from pypdfium2 import PdfDocument

pytest.importorskip("matplotlib", reason="the dicom extra is not installed")
pytest.importorskip("highdicom", reason="the dicom extra is not installed")

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.io.dicom import read_dicom_series
from cmbnet.phantom.dicom import ScanHeader, Vendor, write_dicom_series
from cmbnet.predict import InputRecord, Prediction, predict_volume
from cmbnet.report.pdf import report_pdf
from cmbnet.report.result import build_result
from tests.helpers.tiny_scan import tiny_scan


@pytest.fixture(scope="module")
def prediction(tiny_bundle: Bundle, tiny_backend: Backend) -> Prediction:
    return predict_volume(tiny_scan(), tiny_bundle, tiny_backend)


def make(prediction: Prediction, case: str = "case") -> bytes:
    return report_pdf(prediction, build_result(prediction, case=case))


def words_of(pdf: bytes) -> list[str]:
    """What stands on each page."""
    return [page.get_textpage().get_text_range() for page in PdfDocument(pdf)]


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_every_page_of_a_dicom_series_names_patient_and_images(
    tiny_bundle: Bundle, tiny_backend: Backend, tmp_path: Path, enhanced: bool
) -> None:
    scan = ScanHeader(name="PDF-1")
    write_dicom_series(tiny_scan(), tmp_path, vendor=Vendor.SIEMENS, scan=scan, enhanced=enhanced)
    volume, source = read_dicom_series(tmp_path)
    for header in source.headers:
        header.PatientName = "Müller^Žofie Ελένη=山田"
        header.PatientBirthDate, header.PatientSex = "19470213", "F"
        header.AccessionNumber = "ACC(7)"
    found = predict_volume(volume, tiny_bundle, tiny_backend, record=InputRecord(dicom=source))
    text, slices = words_of(make(found))
    for page in (text, slices):
        assert "Patient: Müller, Žofie Ελένη; ID PDF-1; born 1947-02-13; F; " in page
        assert "study of 2026-01-01; accession ACC(7)" in page
    assert "unknown" not in text
    assert source.series_instance_uid in text
    (first, *_) = found.found.lesions
    z = first.voxel_ijk[2]
    if enhanced:
        assert "Series 5 (SWI_Images): 1 files, instance 1, 24 frames" in text
        assert f" frame {source.frame_numbers[z]}\r\n" in text
    else:
        assert "Series 5 (SWI_Images): 24 files, instances 1 to 24" in text
        assert f" {source.headers[z].InstanceNumber}\r\n" in text


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", pdf))


def pictures(pdf: bytes) -> int:
    return len(re.findall(rb"/Subtype /Image", pdf))


def test_the_same_result_gives_the_same_bytes(prediction: Prediction) -> None:
    first = make(prediction)
    assert first == make(prediction)
    assert b"CreationDate" not in first
    assert (pages(first), pictures(first) >= 3) == (2, True)


def test_many_lesions_fill_more_pages(prediction: Prediction) -> None:
    (lesion, *_) = prediction.found.lesions
    many = replace(prediction, found=replace(prediction.found, lesions=(lesion,) * 120))
    assert pages(make(many)) == pages(make(prediction)) + 2


def test_a_scan_without_lesions_has_its_slices(prediction: Prediction) -> None:
    none = replace(prediction, found=replace(prediction.found, lesions=()))
    assert pictures(make(none)) >= 6


@pytest.mark.parametrize(
    "case", ["$x^$ \\frac{1}{", "山田太郎 \N{BRAIN}", "(end) Tj ET", "a" * 500]
)
def test_no_name_breaks_the_page(prediction: Prediction, case: str) -> None:
    pdf = make(prediction, case)
    assert pages(pdf) == 2
    for stream in re.findall(rb"/FlateDecode.*?stream\r?\n(.*?)\nendstream", pdf, re.DOTALL):
        zlib.decompressobj().decompress(stream)
