"""The geometry gate: what it reads, what it refuses, and that highdicom agrees."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset

from cmbnet.errors import InputRefused
from cmbnet.io.dicom import read_dicom, read_dicom_series
from cmbnet.io.dicom.geometry import axial_tilt_degrees
from cmbnet.volume import Volume, grid_difference
from tests.helpers.dicom_series import edit, edit_all, swi_only, tiny_swi, write_tiny


def by_highdicom(folder: Path) -> hd.Volume:
    return hd.get_volume_from_series([pydicom.dcmread(path) for path in folder.iterdir()])


def as_volume(other: hd.Volume) -> Volume:
    return Volume(other.array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ other.affine)


def move(folder: Path, number: int, along_z_mm: float) -> None:
    """Shift one slice along the normal."""

    def change(dataset: FileDataset) -> None:
        cosines = np.array(dataset.ImageOrientationPatient, dtype=float)
        normal = np.cross(cosines[:3], cosines[3:])
        position = np.array(dataset.ImagePositionPatient, dtype=float) + along_z_mm * normal
        dataset.ImagePositionPatient = [f"{value:.9f}" for value in position]

    edit(folder / f"IM{number:06d}", change)


def test_the_written_volume_is_read_back_in_place(tmp_path: Path) -> None:
    truth = tiny_swi()
    volume = read_dicom(swi_only(tmp_path))
    assert volume.shape == truth.shape
    np.testing.assert_allclose(volume.spacing_mm, (2.0, 0.8, 0.8), atol=1e-6)
    # Same place, same value: the writer flips axes, the affine must follow.
    for index in ((0, 0, 0), (23, 19, 15), (5, 17, 3)):
        other = np.linalg.inv(volume.affine) @ [*truth.world_mm(index), 1.0]
        np.testing.assert_allclose(other[:3], np.rint(other[:3]), atol=1e-5)
        z, y, x = np.rint(other[:3]).astype(int)
        expected = np.rint(truth.data[index] / truth.data.max() * 4095)
        assert volume.data[z, y, x] == expected


def test_slices_rise_along_the_normal_whatever_their_names(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    before = read_dicom(folder)
    names = [path.name for path in folder.iterdir()]
    random.Random(3).shuffle(names)
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for name, path in zip(names, sorted(folder.iterdir()), strict=True):
        shutil.copy(path, shuffled / name)
    after = read_dicom(shuffled)
    np.testing.assert_array_equal(before.data, after.data)
    np.testing.assert_array_equal(before.affine, after.affine)
    assert after.affine[2, 0] > 0, "z of an axial scan rises toward the head"


def test_highdicom_reads_the_same(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    volume = read_dicom(folder)
    other = as_volume(by_highdicom(folder))
    # highdicom counts slices the other way: flip it onto our grid.
    affine = other.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (other.shape[0] - 1)
    affine[:3, 0] *= -1
    flipped = Volume(other.data[::-1], affine)
    assert grid_difference(volume, flipped) is None
    np.testing.assert_array_equal(volume.data, flipped.data)


def remove_one(folder: Path) -> None:
    (folder / "IM000011").unlink()


def double_one(folder: Path) -> None:
    copy = folder / "copy"
    shutil.copy(folder / "IM000011", copy)
    edit(copy, lambda dataset: setattr(dataset, "SOPInstanceUID", "2.25.11"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            remove_one,
            r"a slice is missing: 4.000 mm between instance 10 \(IM000010\) and "
            r"instance 12 \(IM000012\), 2.000 mm elsewhere",
        ),
        (double_one, r"1 slices lie where another one lies, for example instance 11"),
        (lambda folder: move(folder, 11, 0.15), "a slice is out of place: 2.150 mm between"),
    ],
    ids=["gap", "duplicate", "jitter"],
)
def test_refused_as_by_highdicom_and_with_the_instances(
    tmp_path: Path, spoil: object, reason: str
) -> None:
    folder = swi_only(tmp_path)
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"not a regularly-spaced volume|do not"):
        by_highdicom(folder)
    with pytest.raises(InputRefused, match=reason):
        read_dicom(folder)
    with pytest.raises(InputRefused, match=reason):
        read_dicom(folder, series="5")


def test_a_hundredth_of_a_millimetre_is_accepted_by_both(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    move(folder, 11, 0.01)
    assert by_highdicom(folder).shape == read_dicom(folder).shape


def test_swi_and_projection_in_one_series_are_split(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path) / "5"
    uid = pydicom.dcmread(folder / "IM000001").SeriesInstanceUID
    plain = read_dicom(folder)
    for path in sorted((tmp_path / "4").iterdir()):
        edit(path, lambda dataset: setattr(dataset, "SeriesInstanceUID", uid))
        shutil.move(path, folder / f"mip{path.name}")
    with pytest.raises(ValueError, match=r"same series|regularly-spaced"):
        by_highdicom(folder)
    volume, source = read_dicom_series(folder)
    assert source.verdict.key == "5.1"
    np.testing.assert_array_equal(volume.data, plain.data)


def test_mixed_orientation_names_the_instances(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)

    def turn(dataset: FileDataset) -> None:
        dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        dataset.EchoTime = "40"

    edit(folder / "IM000003", turn)
    with pytest.raises(InputRefused, match=r"mixed orientations: instance 3 \(IM000003\)"):
        read_dicom(folder)


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("FrameOfReferenceUID", "2.25.5", "mixed frames of reference"),
        ("PixelSpacing", ["0.8", "0.9"], "mixed pixel spacings"),
        ("ImagePositionPatient", None, r"no valid position is stated in instance 3"),
        ("ImageOrientationPatient", ["0", "0", "0", "0", "0", "0"], "no valid orientation"),
        ("PixelSpacing", ["0", "0.8"], "the pixel spacing is not positive"),
    ],
)
def test_one_odd_slice_refuses_the_series(
    tmp_path: Path, keyword: str, value: object, reason: str
) -> None:
    folder = swi_only(tmp_path)

    def change(dataset: FileDataset) -> None:
        setattr(dataset, keyword, value)

    edit(folder / "IM000003", change)
    with pytest.raises(InputRefused, match=reason):
        read_dicom(folder)


def test_sheared_stack_is_refused(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)

    def drift(dataset: FileDataset) -> None:
        cosines = np.array(dataset.ImageOrientationPatient, dtype=float)
        position = np.array(dataset.ImagePositionPatient, dtype=float)
        position += 0.2 * int(dataset.InstanceNumber) * cosines[:3]
        dataset.ImagePositionPatient = [f"{value:.9f}" for value in position]

    edit_all(folder, drift)
    with pytest.raises(InputRefused, match="the grid is sheared, not rectangular"):
        read_dicom(folder)


def test_gap_between_slices_and_wrong_statement_are_noted(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)

    def thin(dataset: FileDataset) -> None:
        dataset.SliceThickness = "1.5"
        dataset.SpacingBetweenSlices = "1.5"

    edit_all(folder, thin)
    notes = " ".join(read_dicom(folder).notes)
    assert "slices are 1.5 mm thick and their centres 2.00 mm apart" in notes
    assert "SpacingBetweenSlices states 1.5 mm, the positions 2.000 mm" in notes


def test_overlapping_slices_are_read_without_a_word(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    edit_all(folder, lambda dataset: setattr(dataset, "SliceThickness", "3"))
    assert read_dicom(folder).notes == ()


def test_tilt_of_known_affines() -> None:
    assert axial_tilt_degrees(np.eye(4)[[2, 1, 0, 3]]) == pytest.approx(0.0)
    sagittal = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    assert axial_tilt_degrees(sagittal) == pytest.approx(90.0)


def test_coronal_scan_is_refused_unless_named(tmp_path: Path) -> None:
    coronal = np.array([[0.0, 0, 0.8, 0], [2, 0, 0, 0], [0, -0.8, 0, 0], [0, 0, 0, 1]])
    write_tiny(tmp_path, volume=tiny_swi(affine=coronal))
    with pytest.raises(InputRefused, match="90 degrees from axial, at most 35"):
        read_dicom(tmp_path)
    volume = read_dicom(tmp_path, series="5")
    assert any(note.startswith("named in spite of: 90 degrees") for note in volume.notes)
