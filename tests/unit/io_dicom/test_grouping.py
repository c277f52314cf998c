"""Retransmissions, echoes, repeats, and words that change half-way."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset

from cmbnet.errors import InputRefused
from cmbnet.io.dicom import examine_dicom, read_dicom, read_dicom_series
from tests.helpers.dicom_series import edit, edit_all, swi_only


def duplicate(folder: Path, *, shift: int = 0) -> None:
    """Copy every image, perhaps with another UID (then as a second time point)."""
    for path in sorted(folder.iterdir()):
        copy = folder / f"again{path.name}"
        shutil.copy(path, copy)
        if shift:
            edit(copy, lambda dataset: _shift(dataset, shift))


def _shift(dataset: FileDataset, shift: int) -> None:
    dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID}{shift}"[-60:].lstrip(".0")
    dataset.InstanceNumber = int(dataset.InstanceNumber) + shift
    pixels = dataset.pixel_array // 2
    dataset.PixelData = pixels.astype("<u2").tobytes()


def test_retransmitted_images_are_dropped(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    plain = read_dicom(folder)
    duplicate(folder)
    volume = read_dicom(folder)
    np.testing.assert_array_equal(volume.data, plain.data)
    assert "24 images were sent twice: one copy each was used" in volume.notes


def test_one_uid_for_two_images_is_no_retransmission(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    copy = folder / "other"
    shutil.copy(folder / "IM000004", copy)

    def darker(dataset: FileDataset) -> None:
        dataset.PixelData = bytes(len(dataset.PixelData))

    edit(copy, darker)
    (verdict,) = examine_dicom(folder).verdicts
    assert any("the same SOP Instance UID and different pixels" in f for f in verdict.notes)
    with pytest.raises(InputRefused, match="slices lie where another one lies"):
        read_dicom(folder)


def test_echoes_become_stacks(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    duplicate(folder, shift=100)
    for path in folder.glob("again*"):
        edit(path, lambda dataset: setattr(dataset, "EchoTime", "30.5"))
    assert [verdict.key for verdict in examine_dicom(folder).verdicts] == ["5.1", "5.2"]
    first, one = read_dicom_series(folder, series="5.1")
    second, other = read_dicom_series(folder, series="5.2")
    assert (one.echo_ms, other.echo_ms) == (20.0, 30.5)
    np.testing.assert_array_equal(first.data // 2, second.data)


def test_time_points_are_chosen_never_averaged(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    duplicate(folder, shift=100)
    with pytest.raises(InputRefused, match="2 share each of 24 positions; choose one with frame"):
        read_dicom(folder)
    first, second = (read_dicom(folder, series="5", frame=frame) for frame in (0, 1))
    np.testing.assert_array_equal(first.data // 2, second.data)


def test_a_word_that_changes_half_way_makes_no_half_brains(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    for number in range(13, 25):
        edit(
            folder / f"IM{number:06d}",
            lambda dataset: setattr(
                dataset, "ImageType", ["ORIGINAL", "PRIMARY", "M", "SWI", "NORM"]
            ),
        )
    (verdict,) = examine_dicom(folder).verdicts
    assert verdict.shape == (24, 20, 16)


def test_missing_ends_are_noted(tmp_path: Path) -> None:
    """Slices missing at the end leave a regular grid: only numbers and counts tell."""
    folder = swi_only(tmp_path)
    edit_all(folder, lambda dataset: setattr(dataset, "ImagesInAcquisition", "24"))
    assert read_dicom(folder).notes == ()
    (folder / "IM000001").unlink()
    (folder / "IM000024").unlink()
    notes = read_dicom(folder).notes
    assert "instance numbers 1 of 1 to 23 are absent: slices may be missing" in notes
    assert "the scanner states 24 images in the acquisition, 22 are here" in notes


def test_damaged_neighbours_are_counted(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)
    (folder / "broken.dcm").write_bytes((folder / "IM000001").read_bytes()[:140])
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty").touch()
    notes = " ".join(read_dicom(folder).notes)
    assert "2 files bear no DICOM mark" in notes
    assert "broken.dcm" in notes


def four_echoes(folder: Path, **stated: Callable[[int, int], object]) -> Path:
    """Each image four times, darker each time, under names in no order, as a PACS sends them."""
    for z, path in enumerate(sorted(folder.iterdir())):
        for echo in range(4):
            dataset = pydicom.dcmread(path)
            dataset.SOPInstanceUID = f"2.25.{z + 1}{echo + 1}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.InstanceNumber = z + 1
            dataset.EchoNumbers = 1
            for keyword, value in stated.items():
                setattr(dataset, keyword, value(z, echo))
            dataset.PixelData = (dataset.pixel_array >> echo).astype("<u2").tobytes()
            name = hashlib.sha256(dataset.SOPInstanceUID.encode()).hexdigest()
            dataset.save_as(folder / name)
        path.unlink()
    return folder


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"EchoNumbers": lambda z, echo: 1 + (echo if z else 0)},
        {"InstanceNumber": lambda z, echo: 1 + (37 * (4 * z + echo)) % 96},
        {"AcquisitionTime": lambda z, echo: f"1200{(7 * z + 13 * echo) % 60:02d}"},
    ],
    ids=["nothing", "all positions but one", "numbers in no order", "times in no order"],
)
def test_echoes_that_nothing_orders_are_never_mixed(
    tmp_path: Path, stated: dict[str, Callable[[int, int], object]]
) -> None:
    folder = four_echoes(swi_only(tmp_path), **stated)
    for frame in (None, 0):
        with pytest.raises(InputRefused, match="nothing in the headers orders them alike"):
            read_dicom(folder, series="5", frame=frame)


@pytest.mark.parametrize(
    "stated",
    [
        {"EchoNumbers": lambda _, echo: echo + 1},
        {"TemporalPositionIdentifier": lambda _, echo: echo + 1},
        {"AcquisitionTime": lambda _, echo: f"12000{echo}.5"},
        {"AcquisitionTime": lambda z, echo: f"12{z:02d}0{echo}"},
        {"InstanceNumber": lambda z, echo: 24 * echo + z + 1},
        {"InstanceNumber": lambda z, echo: 4 * z + echo + 1},
    ],
    ids=["echo", "time point", "volume times", "slice times", "volume by volume", "slice by slice"],
)
def test_echoes_are_told_apart_by_what_orders_them_everywhere(
    tmp_path: Path, stated: dict[str, Callable[[int, int], object]]
) -> None:
    folder = swi_only(tmp_path)
    plain = read_dicom(folder)
    four_echoes(folder, **stated)
    for frame in (0, 3):
        volume = read_dicom(folder, series="5", frame=frame)
        np.testing.assert_array_equal(volume.data, plain.data.astype(int) >> frame)
