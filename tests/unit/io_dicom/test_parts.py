"""One scan that was sent as several series is read whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from cmbnet.errors import InputRefused, UsageError
from cmbnet.io.dicom import examine_dicom, read_dicom, read_dicom_series
from tests.helpers.dicom_series import edit, edit_all, swi_only

SLICES = 24


def split(folder: Path, part_of: Callable[[int], int], **more: str) -> Path:
    """Give the slices (from 0) of every part but 0 a series of its own."""
    for z, path in enumerate(sorted(folder.iterdir())):
        part = part_of(z)

        def change(dataset: FileDataset, part: int = part) -> None:
            if part:
                dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.{part}"
                for keyword, value in more.items():
                    setattr(dataset, keyword, value)

        edit(path, change)
    return folder


@pytest.mark.parametrize(
    "part_of",
    [
        lambda z: int(z >= 12),
        lambda z: int(z >= 21),
        lambda z: z // 9,
        lambda z: z % 2,
        lambda z: z,
    ],
    ids=["halves", "a few slices", "three", "in turn", "a series per slice"],
)
def test_parts_of_one_acquisition_are_joined(tmp_path: Path, part_of: Callable[[int], int]) -> None:
    folder = swi_only(tmp_path)
    whole = read_dicom(folder)
    volume, source = read_dicom_series(split(folder, part_of))
    np.testing.assert_array_equal(volume.data, whole.data)
    np.testing.assert_array_equal(volume.affine, whole.affine)
    assert source.verdict.key == "5"
    assert len(source.headers) == SLICES
    (note,) = volume.notes
    assert note.endswith("are parts of one acquisition, joined to a scan of 24 slices")


def test_a_joined_scan_is_not_read_in_parts_by_name(tmp_path: Path) -> None:
    folder = split(swi_only(tmp_path), lambda z: int(z >= 12))
    assert [verdict.key for verdict in examine_dicom(folder).verdicts] == ["5"]
    assert read_dicom(folder, series="5").shape[0] == SLICES
    with pytest.raises(UsageError, match=r"0 series of .* are named 5b: choose of 5"):
        read_dicom(folder, series="5b")


@pytest.mark.parametrize(
    "change",
    [
        {"AcquisitionTime": "120500"},
        {"AcquisitionNumber": "2"},
        {"FrameOfReferenceUID": "2.25.8"},
        {"StudyInstanceUID": "2.25.9"},
        {"ImageType": ["DERIVED", "SECONDARY", "M", "SWI"]},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("at", [12, 21])
def test_parts_of_unsure_origin_are_refused_also_by_name(
    tmp_path: Path, change: dict[str, str], at: int
) -> None:
    """Three slices are too few for a candidate: the other 21 were taken without a word."""
    folder = split(swi_only(tmp_path), lambda z: int(z >= at), **change)
    with pytest.raises(InputRefused, match="a part of a scan that goes on in series 5b"):
        read_dicom(folder)
    keys = {verdict.key for verdict in examine_dicom(folder).verdicts}
    assert keys == {"5", "5b"}
    for key in keys:
        with pytest.raises(InputRefused, match="half of it is not read"):
            read_dicom(folder, series=key)


def test_the_whole_part_beside_a_damaged_one_is_refused(tmp_path: Path) -> None:
    folder = split(swi_only(tmp_path), lambda z: int(z >= 3))
    (folder / "IM000002").unlink()
    with pytest.raises(InputRefused, match="a part of a scan that goes on in series 5"):
        read_dicom(folder)


def test_slices_in_turn_of_two_acquisitions_are_refused(tmp_path: Path) -> None:
    folder = split(swi_only(tmp_path), lambda z: z % 2, AcquisitionTime="120500")
    with pytest.raises(InputRefused, match="a part of a scan that goes on in series 5b"):
        read_dicom(folder)


def test_a_scan_repeated_a_little_higher_is_no_part(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    again = swi_only(tmp_path / "again")

    def shift(dataset: FileDataset) -> None:
        cosines = np.array(dataset.ImageOrientationPatient, dtype=float)
        normal = np.cross(cosines[:3], cosines[3:])
        position = np.array(dataset.ImagePositionPatient, dtype=float) + 5.3 * normal
        dataset.ImagePositionPatient = [f"{value:.9f}" for value in position]
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID[-50:].lstrip('.0')}.7"
        dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.7"
        dataset.AcquisitionTime = "121500"

    edit_all(again, shift)
    with pytest.raises(InputRefused, match="ambiguous: 2 series"):
        read_dicom(tmp_path)
    assert read_dicom(tmp_path, series="5b").shape[0] == SLICES
    assert folder.exists()


def test_halves_by_image_type_beside_a_doubled_slice_are_refused(tmp_path: Path) -> None:
    """A word that changes half-way and one slice sent with two UIDs must not make half a brain."""
    folder = swi_only(tmp_path)

    def filtered(dataset: FileDataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "SWI", "NORM"]

    for number in range(1, 4):
        edit(folder / f"IM{number:06d}", filtered)
    (folder / "again").write_bytes((folder / "IM000002").read_bytes())
    edit(folder / "again", lambda dataset: setattr(dataset, "SOPInstanceUID", "2.25.5"))
    with pytest.raises(InputRefused, match="a part of a scan"):
        read_dicom(folder)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("EchoTime", "20.02"),
        ("EchoTime", None),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M", "ND"]),
        ("ImageType", ["ORIGINAL", "PRIMARY", "P", "SWI"]),
    ],
    ids=["echo", "no echo", "magnitude", "phase"],
)
def test_what_changes_at_the_end_of_a_series_makes_no_shorter_scan(
    tmp_path: Path, keyword: str, value: object
) -> None:
    folder = swi_only(tmp_path)
    for number in range(22, 25):
        edit(folder / f"IM{number:06d}", lambda dataset: setattr(dataset, keyword, value))
    for series in (None, "5.1"):
        with pytest.raises(InputRefused, match=r"a part of a scan that goes on in series 5\.2"):
            read_dicom(folder, series=series)


def test_parts_that_name_two_patients_are_not_joined(tmp_path: Path) -> None:
    folder = split(swi_only(tmp_path), lambda z: int(z >= 12), PatientName="OTHER^ONE")
    with pytest.raises(InputRefused, match="a part of a scan"):
        read_dicom(folder)
