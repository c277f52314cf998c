"""The phase that belongs to an SWI is found by what the headers say, and read on its grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from cmbnet.errors import UsageError
from cmbnet.io.dicom import DicomSource, examine_dicom, read_dicom, read_dicom_study
from cmbnet.phantom.dicom import Vendor, write_dicom_series
from cmbnet.volume import Volume, grid_difference

SHAPE = (24, 40, 48)


def swi() -> Volume:
    rng = np.random.default_rng(4)
    affine = np.array([[0, 0, -0.9, 20], [0, -0.9, 0, 18], [2.0, 0, 0, -24], [0, 0, 0, 1]])
    return Volume(rng.uniform(1, 900, SHAPE).astype(np.float32), affine, "swi")


@pytest.mark.parametrize("vendor", list(Vendor))
@pytest.mark.parametrize("enhanced", [False, True])
def test_every_vendor_sends_a_phase_that_is_found(
    vendor: Vendor, enhanced: bool, tmp_path: Path
) -> None:
    write_dicom_series(swi(), tmp_path, vendor=vendor, enhanced=enhanced)
    seen = examine_dicom(tmp_path)
    (phase,) = (one for one in seen.verdicts if one.kind == "phase")
    (chosen,) = (one for one in seen.verdicts if one.chosen)
    assert seen.notes[-1] == (
        f"series {phase.key} is the phase of series {chosen.key}: the same coordinates, grid and "
        "echo"
    )
    volume, _, read, reason = read_dicom_study(tmp_path)
    assert read is not None
    assert reason == ""
    assert grid_difference(read, volume) is None
    np.testing.assert_array_equal(read.data, read_dicom(tmp_path, series=phase.key).data)
    named = read_dicom_study(tmp_path, phase=phase.key)[2]
    assert named is not None
    np.testing.assert_array_equal(named.data, read.data)
    assert read_dicom_study(tmp_path, phase="none")[2:] == (None, "")


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        ("FrameOfReferenceUID", "2.25.7", "other coordinates"),
        ("EchoTime", "7.5", "echo of 7.5 ms"),
        ("PixelSpacing", ["0.8", "0.8"], "another grid"),
    ],
)
def test_a_phase_of_something_else_is_told_why(
    tag: str, value: str, reason: str, tmp_path: Path
) -> None:
    write_dicom_series(swi(), tmp_path, vendor=Vendor.SIEMENS)
    for file in sorted(tmp_path.rglob("IM*")):
        dataset = pydicom.dcmread(file)
        if "P" in dataset.ImageType:
            setattr(dataset, tag, value)
            dataset.save_as(file)
    assert reason in examine_dicom(tmp_path).notes[-1]
    _, _, phase, said = read_dicom_study(tmp_path)
    assert phase is None
    assert said.startswith("no phase belongs to series 5 (series 3: ")
    assert reason in said


def test_a_study_without_phase(tmp_path: Path) -> None:
    write_dicom_series(swi(), tmp_path, vendor=Vendor.SIEMENS)
    for file in sorted(tmp_path.rglob("IM*")):
        if "P" in pydicom.dcmread(file, stop_before_pixels=True).ImageType:
            file.unlink()
    assert examine_dicom(tmp_path).notes[-1].startswith("no phase belongs to series")
    assert read_dicom_study(tmp_path)[2:] == (None, "")
    with pytest.raises(UsageError, match="no phase series is named 99: choose of none"):
        read_dicom_study(tmp_path, phase="99")


def test_the_scan_may_be_the_phase_itself(tmp_path: Path) -> None:
    write_dicom_series(swi(), tmp_path, vendor=Vendor.SIEMENS)
    _, source, phase, said = read_dicom_study(tmp_path, series="3")
    assert isinstance(source, DicomSource)
    assert phase is None
    assert said.startswith("no phase belongs to series 3")


def test_a_phase_of_half_the_slices_belongs_to_no_swi(tmp_path: Path) -> None:
    write_dicom_series(swi(), tmp_path, vendor=Vendor.SIEMENS)
    for file in sorted((tmp_path / "3").iterdir())[::2]:
        file.unlink()
    volume, _, phase, said = read_dicom_study(tmp_path)
    assert volume.shape == SHAPE
    assert phase is None
    assert "another grid" in said


def test_damaged_phase_costs_no_answer(tmp_path: Path) -> None:
    write_dicom_series(swi(), tmp_path, vendor=Vendor.SIEMENS)
    file = sorted((tmp_path / "3").iterdir())[5]
    file.write_bytes(file.read_bytes()[:-300])
    volume, _, phase, said = read_dicom_study(tmp_path)
    assert volume.shape == SHAPE
    assert phase is None
    assert said.startswith("the phase cannot be read")


def test_a_phase_of_another_study_is_not_used(tmp_path: Path) -> None:
    """The folder holds two studies, so that the SWI is named."""
    write_dicom_series(swi(), tmp_path, vendor=Vendor.SIEMENS)
    for file in sorted((tmp_path / "3").iterdir()):
        dataset = pydicom.dcmread(file)
        dataset.StudyInstanceUID = "2.25.9"
        dataset.save_as(file)
    uid = str(pydicom.dcmread(next((tmp_path / "5").iterdir())).SeriesInstanceUID)
    _, _, phase, said = read_dicom_study(tmp_path, series=uid)
    assert phase is None
    assert "other study" in said
