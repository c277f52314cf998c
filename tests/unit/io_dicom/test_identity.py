"""Two patients or two studies in one input, or in one series, are never chosen between."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset

from cmbnet.errors import InputRefused
from cmbnet.io.dicom import examine_dicom, read_dicom
from cmbnet.phantom.dicom import ScanHeader
from tests.helpers.dicom_series import edit, edit_all, swi_only, write_tiny


def two_studies(folder: Path, *, patients: bool) -> Path:
    write_tiny(folder / "first")
    write_tiny(folder / "second", scan=ScanHeader(name="PHANTOM-1", patient_name="OTHER^ONE"))
    if not patients:
        for path in sorted((folder / "second").iterdir()):
            edit_all(path, lambda dataset: setattr(dataset, "PatientID", "PHANTOM-0"))
    return folder


def lose_a_slice(folder: Path) -> None:
    (folder / "first/5/IM000009").unlink()


def lose_all_swi(folder: Path) -> None:
    shutil.rmtree(folder / "first/5")


@pytest.mark.parametrize("patients", [True, False], ids=["patients", "dates"])
@pytest.mark.parametrize("spoil", [None, lose_a_slice, lose_all_swi])
def test_nobody_is_chosen(tmp_path: Path, patients: bool, spoil: object) -> None:
    """Also where the first is damaged: the second may not be the one that is meant."""
    folder = two_studies(tmp_path, patients=patients)
    if spoil is not None:
        spoil(folder)  # type: ignore[operator]
    what = "2 patients" if patients else "2 studies"
    with pytest.raises(InputRefused, match=rf"holds {what}: series 5.*name the series") as refused:
        read_dicom(folder)
    assert "OTHER" not in str(refused.value)
    assert "PHANTOM" not in str(refused.value)
    assert not any(verdict.chosen for verdict in examine_dicom(folder).verdicts)
    named = next(one for one in examine_dicom(folder).verdicts if not one.objections)
    volume = read_dicom(folder, series=named.key)
    assert volume.shape == (24, 20, 16)
    assert f"named among images of {what}" in volume.notes


def test_a_patient_without_a_number_is_no_second_one(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    edit_all(folder / "2", lambda dataset: setattr(dataset, "PatientID", ""))
    assert examine_dicom(folder).refusal == ""


def test_patients_without_numbers_are_told_apart_by_name(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    for path in sorted(folder.iterdir()):
        edit_all(path, lambda dataset: setattr(dataset, "PatientID", ""))
    edit_all(folder / "2", lambda dataset: setattr(dataset, "PatientName", "OTHER^ONE"))
    with pytest.raises(InputRefused, match="holds 2 patients"):
        read_dicom(folder)


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("PatientID", "other-2", "names 2 patients: PatientID differs"),
        ("PatientID", "", "names 2 patients: PatientID differs"),
        ("PatientName", "OTHER^ONE", "names 2 patients: PatientName differs"),
        ("PatientBirthDate", "19400101", "names 2 patients: PatientBirthDate differs"),
        ("StudyInstanceUID", "2.25.77", "names 2 studies: StudyInstanceUID differs"),
    ],
)
def test_one_series_of_two_owners_is_no_volume(
    tmp_path: Path, keyword: str, value: str, reason: str
) -> None:
    folder = swi_only(tmp_path)
    for path in sorted(folder.iterdir())[::2]:
        edit(path, lambda dataset: setattr(dataset, keyword, value))
    for series in (None, "5"):
        with pytest.raises(InputRefused, match=reason) as refused:
            read_dicom(folder, series=series)
        assert "instance 1 (IM000001) and instance 2" in str(refused.value)
        assert "OTHER" not in str(refused.value)


def test_a_name_written_in_two_ways_is_one(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    edit(folder / "IM000003", lambda dataset: setattr(dataset, "PatientName", "Phantom^Cmbnet^^^"))
    assert read_dicom(folder).shape == (24, 20, 16)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientID", "other-2"), ("ImagePositionPatient", ["0", "0", "0"]), ("RescaleSlope", "2")],
)
def test_a_corrected_image_is_no_retransmission(
    tmp_path: Path, keyword: str, value: object
) -> None:
    """Which of the two would be used was a matter of file names."""
    folder = swi_only(tmp_path)
    copy = folder / "again"
    shutil.copy(folder / "IM000004", copy)

    def correct(dataset: FileDataset) -> None:
        setattr(dataset, keyword, value)

    edit(copy, correct)
    (verdict,) = examine_dicom(folder).verdicts
    assert any("the same SOP Instance UID and different" in one for one in verdict.notes)
    with pytest.raises(InputRefused):
        read_dicom(folder)
