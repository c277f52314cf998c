"""Two forms of place and a unit: what is read, what is noted, and that results state the same."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from cmbnet.io import read_nifti, write_nifti
from cmbnet.volume import Volume, grid_difference

AFFINE = np.array([[-0.5, 0, 0, 12], [0, 0.6, 0, -7], [0, 0, 2, 3], [0, 0, 0, 1]])
TURN = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
SHIFT = AFFINE + np.array([[0, 0, 0, 10], [0, 0, 0, -5], [0, 0, 0, 3], [0, 0, 0, 0]])
SHAPE = (5, 6, 7)


def save(
    path: Path, *, sform: Any = AFFINE, codes: tuple[int, int] = (1, 1), qform: Any = AFFINE,
    unit: str = "mm", second: bool = False,
) -> Path:  # fmt: skip
    """A file with these forms; codes of qform and sform."""
    kind = nib.Nifti2Image if second else nib.Nifti1Image
    image = kind(np.ones(SHAPE, np.int16), AFFINE)
    image.set_qform(qform, codes[0])
    image.set_sform(sform, codes[1])
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def written(path: Path) -> Any:
    """The header of a result on the grid of a file, which reads as the same place."""
    volume = read_nifti(path)
    mask = path.with_name("mask.nii.gz")
    write_nifti(volume.with_data(volume.data > 0), mask, dtype=np.uint8)
    again = read_nifti(mask)
    assert grid_difference(again, volume) is None
    assert again.notes == volume.notes
    return nib.load(mask).header


@pytest.mark.parametrize("qform", [SHIFT, TURN @ AFFINE, np.diag([-1, 1, 1, 1]) @ AFFINE])
@pytest.mark.parametrize("codes", [(1, 2), (1, 4), (4, 1), (3, 2)])
def test_results_state_both_forms_as_the_scan_does(
    tmp_path: Path, qform: Any, codes: tuple[int, int]
) -> None:
    path = save(tmp_path / "a.nii.gz", qform=qform, codes=codes)
    header = written(path)
    assert (int(header["qform_code"]), int(header["sform_code"])) == codes
    np.testing.assert_allclose(header.get_qform(), qform, atol=1e-5)
    np.testing.assert_allclose(header.get_sform(), AFFINE, atol=1e-5)


@pytest.mark.parametrize("codes", [(2, 0), (0, 4), (0, 0)])
def test_a_form_that_says_nothing_says_nothing_in_results(
    tmp_path: Path, codes: tuple[int, int]
) -> None:
    header = written(save(tmp_path / "a.nii.gz", codes=codes))
    assert (int(header["qform_code"]), int(header["sform_code"])) == codes


def test_forms_that_differ_are_noted(tmp_path: Path) -> None:
    volume = read_nifti(save(tmp_path / "a.nii", qform=SHIFT, codes=(1, 2)))
    assert volume.notes == (
        "qform (code 1) and sform (code 2) of the header place the image up to 11.6 mm apart; "
        "the sform was used, and results state both as the scan does",
    )
    assert volume.forms is not None
    assert not volume.forms.mirrored
    np.testing.assert_allclose(volume.affine[:, [2, 1, 0, 3]], AFFINE)


def test_mirrored_forms_are_told(tmp_path: Path) -> None:
    volume = read_nifti(save(tmp_path / "a.nii", qform=np.diag([-1, 1, 1, 1]) @ AFFINE))
    assert volume.forms is not None
    assert volume.forms.mirrored


def test_forms_that_agree_are_not_noted(tmp_path: Path) -> None:
    oblique = TURN @ AFFINE
    assert read_nifti(save(tmp_path / "a.nii", qform=oblique, sform=oblique)).notes == ()


def test_voxel_sizes_that_are_not_those_of_the_sform_are_noted(tmp_path: Path) -> None:
    content = bytearray(save(tmp_path / "a.nii", codes=(0, 1)).read_bytes())
    content[80:92] = np.ones(3, "<f4").tobytes()
    (tmp_path / "b.nii").write_bytes(content)
    assert read_nifti(tmp_path / "b.nii").notes == (
        "the voxel sizes of the header (1 x 1 x 1 mm) are not those of its sform "
        "(0.5 x 0.6 x 2 mm), which were used",
    )
    content[80:92] = np.array([0.5, 0.6, 2], "<f4").tobytes()
    (tmp_path / "c.nii").write_bytes(content)
    assert read_nifti(tmp_path / "c.nii").notes == ()


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize(("unit", "length_mm"), [("meter", 1000.0), ("micron", 0.001)])
def test_units_are_turned_to_mm_and_kept_in_results(
    tmp_path: Path, unit: str, length_mm: float, codes: tuple[int, int], second: bool
) -> None:
    stated = np.diag([1 / length_mm] * 3 + [1]) @ AFFINE
    path = save(
        tmp_path / "a.nii.gz", sform=stated, qform=stated, codes=codes, unit=unit, second=second
    )
    volume = read_nifti(path)
    assert volume.spacing_mm == pytest.approx((2, 0.6, 0.5), rel=1e-5)
    if codes != (0, 0):
        assert volume.world_mm((0, 0, 0)) == pytest.approx((12, -7, 3), rel=1e-5)
    assert any("sizes and places were turned to mm" in note for note in volume.notes)
    header = written(path)
    assert header.get_xyzt_units()[0] == unit
    assert header.get_zooms() == pytest.approx(np.array([0.5, 0.6, 2]) / length_mm, rel=1e-5)


def test_a_unit_that_cannot_be_is_not_believed(tmp_path: Path) -> None:
    volume = read_nifti(save(tmp_path / "a.nii", unit="meter"))
    assert volume.spacing_mm == pytest.approx((2, 0.6, 0.5), rel=1e-5)
    assert "no head has voxels of 2000 mm" in volume.notes[0]


def test_an_image_from_elsewhere_has_a_place_in_the_scanner(tmp_path: Path) -> None:
    write_nifti(Volume(np.zeros((3, 3, 3)), np.eye(4)), tmp_path / "a.nii", dtype=np.uint8)
    header: Any = nib.load(tmp_path / "a.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
