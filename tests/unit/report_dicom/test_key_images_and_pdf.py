"""Key images and the encapsulated PDF: valid, placed, flagged, the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.io.dicom import DicomSource, read_dicom, read_dicom_series
from cmbnet.report.dicom import KeyPicture, write_dicom_results
from cmbnet.report.dicom.write import DicomPaths
from tests.helpers.dicom_series import swi_only, write_tiny
from tests.unit.report_dicom.test_objects import dciodvfy, empty, lesion, needs_dciodvfy, result

PDF = b"%PDF-1.4 an odd number of bytes\n%%EOF"


@pytest.fixture
def source(tmp_path: Path) -> DicomSource:
    return read_dicom_series(swi_only(tmp_path / "scan"))[1]


def pictures() -> tuple[KeyPicture, ...]:
    noise = np.random.default_rng(3).integers(0, 256, (2, 30, 20, 3), dtype=np.uint8)
    places = ((1, 2, 5), (4, 5, 23))
    return tuple(
        KeyPicture(lesion(number, voxel_ijk=place), pixels)
        for number, place, pixels in zip((3, 7), places, noise, strict=True)
    )


def write(source: DicomSource, folder: Path) -> DicomPaths:
    return write_dicom_results(result(), source, folder, key_pictures=pictures(), pdf=PDF)


@needs_dciodvfy
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_dciodvfy_has_nothing_to_say(tmp_path: Path, enhanced: bool) -> None:
    _, source = read_dicom_series(write_tiny(tmp_path / "s", enhanced=enhanced))
    paths = write(source, tmp_path / "out")
    assert len(paths.all) == 5
    for path in paths.all:
        assert dciodvfy(path) == []


def test_a_key_image_is_what_was_drawn_and_says_so(tmp_path: Path, source: DicomSource) -> None:
    for path, picture in zip(write(source, tmp_path).key_images, pictures(), strict=True):
        image = pydicom.dcmread(path)
        np.testing.assert_array_equal(image.pixel_array, picture.pixels)
        assert image.BurnedInAnnotation == "YES"
        assert RESEARCH_USE_ONLY in image.ImageComments
        assert image.SeriesDescription.endswith("RESEARCH ONLY")
        assert image.PatientID == "PHANTOM-0"
        (of,) = image.SourceImageSequence
        assert of.ReferencedSOPInstanceUID == source.sop_instance_uids[picture.lesion.voxel_ijk[2]]


def test_a_key_image_of_an_enhanced_file_names_its_frame(tmp_path: Path) -> None:
    _, source = read_dicom_series(write_tiny(tmp_path / "s", enhanced=True))
    image = pydicom.dcmread(write(source, tmp_path / "out").key_images[1])
    assert image.SourceImageSequence[0].ReferencedFrameNumber == source.frame_numbers[23]


def test_the_pdf_comes_out_as_it_went_in(tmp_path: Path, source: DicomSource) -> None:
    path = write(source, tmp_path).document
    assert path is not None
    document = pydicom.dcmread(path)
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == PDF
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert "RESEARCH ONLY" in document.DocumentTitle
    assert document.StudyInstanceUID == source.study_instance_uid
    assert len(document.SourceInstanceSequence) == len(source.headers)


def test_a_second_run_writes_the_same_bytes(tmp_path: Path, source: DicomSource) -> None:
    first, second = (write(source, tmp_path / name) for name in "ab")
    assert len(first.all) == 5
    for one, other in zip(first.all, second.all, strict=True):
        assert one.read_bytes() == other.read_bytes()
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in first.all]
    series = {str(pydicom.dcmread(path).SeriesInstanceUID) for path in first.all}
    assert (len(set(uids)), len(series)) == (5, 4)


def test_only_what_is_asked_for_is_written(tmp_path: Path, source: DicomSource) -> None:
    paths = write_dicom_results(empty(), source, tmp_path / "out", report=False, pdf=PDF)
    assert paths.all == (tmp_path / "out" / "pdf.dcm",)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pdf.dcm"]


def test_results_beside_the_images_are_not_taken_for_images(tmp_path: Path) -> None:
    """A study that comes a second time brings our own objects along."""
    folder = swi_only(tmp_path / "scan")
    before, source = read_dicom_series(folder)
    write(source, folder / "results")
    after = read_dicom(folder)
    np.testing.assert_array_equal(before.data, after.data)
