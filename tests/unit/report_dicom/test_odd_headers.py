"""Results of series whose headers lack something, or that were sent under several UIDs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.errors import InputRefused
from cmbnet.io.dicom import read_dicom_series
from cmbnet.phantom.dicom import Vendor, write_dicom_series
from cmbnet.predict import InputRecord, Request, predict_volume
from cmbnet.report import write_prediction
from cmbnet.report.dicom import write_dicom_results
from tests.helpers.dicom_series import swi_only, write_tiny
from tests.helpers.tiny_scan import tiny_scan
from tests.unit.io_dicom.test_parts import split
from tests.unit.report_dicom.test_objects import read_back
from tests.unit.report_dicom.test_segments import result_of


def without(folder: Path, keyword: str) -> Path:
    """Remove an attribute wherever it stands."""

    def remove(dataset: Dataset, element: pydicom.DataElement) -> None:
        if element.keyword == keyword:
            del dataset[element.tag]

    for path in sorted(folder.iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.walk(remove)
        dataset.save_as(path)
    return folder


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_slices_of_no_stated_thickness_are_as_thick_as_they_lie_apart(
    tmp_path: Path, enhanced: bool
) -> None:
    folder = without(write_tiny(tmp_path / "scan", enhanced=enhanced) / "5", "SliceThickness")
    _, source = read_dicom_series(folder)
    paths = write_dicom_results(result_of(2), source, tmp_path)
    assert paths.segmentation is not None
    np.testing.assert_array_equal(read_back(paths.segmentation, source), result_of(2).labels)
    shared = pydicom.dcmread(paths.segmentation).SharedFunctionalGroupsSequence[0]
    assert float(shared.PixelMeasuresSequence[0].SliceThickness) == pytest.approx(2.0)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPInstanceUID"])
def test_what_is_absent_is_named(tmp_path: Path, keyword: str) -> None:
    _, source = read_dicom_series(without(swi_only(tmp_path), keyword))
    with pytest.raises(InputRefused, match=rf"to write a segmentation \({keyword} is absent\)"):
        write_dicom_results(result_of(2), source, tmp_path)


def test_images_of_a_joined_scan_are_named_in_their_own_series(tmp_path: Path) -> None:
    _, source = read_dicom_series(split(swi_only(tmp_path / "scan"), lambda z: int(z >= 12)))
    paths = write_dicom_results(result_of(2), source, tmp_path)
    assert paths.segmentation is not None
    assert paths.report is not None
    np.testing.assert_array_equal(read_back(paths.segmentation, source), result_of(2).labels)
    true = {str(header.SOPInstanceUID): str(header.SeriesInstanceUID) for header in source.headers}
    assert len(set(true.values())) == 2
    segmentation = pydicom.dcmread(paths.segmentation)
    (evidence,) = pydicom.dcmread(paths.report).CurrentRequestedProcedureEvidenceSequence
    for series, instances in (
        (segmentation.ReferencedSeriesSequence, "ReferencedInstanceSequence"),
        (evidence.ReferencedSeriesSequence, "ReferencedSOPSequence"),
    ):
        named = {
            str(one.ReferencedSOPInstanceUID): str(item.SeriesInstanceUID)
            for item in series
            for one in item[instances].value
        }
        assert named | true == named


def test_the_answer_is_kept_where_no_object_can_be_written(
    tmp_path: Path, tiny_bundle: Bundle, tiny_backend: Backend
) -> None:
    write_dicom_series(tiny_scan(), tmp_path / "scan", vendor=Vendor.SIEMENS)
    volume, source = read_dicom_series(without(tmp_path / "scan/5", "StudyInstanceUID"))
    asked = Request(dicom_seg=True, dicom_sr=True)
    record = InputRecord(dicom=source)
    prediction = predict_volume(volume, tiny_bundle, tiny_backend, asked, record=record)
    out = tmp_path / "out"
    result = write_prediction(prediction, out)
    assert result.scan.lesions > 0
    assert {path.name for path in out.iterdir()} == set(result.files)
    assert {"mask.nii.gz", "result.json"} < set(result.files)
    assert not any(name.endswith(".dcm") for name in result.files)
    (said,) = [one for one in result.quality.findings if one.code == "no_dicom_objects"]
    assert said.severity == "warning"
    assert "StudyInstanceUID is absent" in said.message
    assert "StudyInstanceUID is absent" in (out / "report.html").read_text()
