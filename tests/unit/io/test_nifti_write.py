"""Writing: back onto the grid that was read, the same bytes for the same volume."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import UsageError
from cmbnet.io import read_nifti, write_nifti
from cmbnet.volume import Volume, grid_difference

DATA = Path("../shared/data")
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="shared test data not present: ../shared/data"
)
AFFINE = np.array([[0, 0.2, -0.6, 5], [0, 0.6, 0.2, 6], [2.0, 0, 0, 7], [0, 0, 0, 1]])


def volume(dtype: str = "uint8") -> Volume:
    rng = np.random.default_rng(3)
    return Volume(rng.integers(0, 3, (4, 5, 6)).astype(dtype), AFFINE)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_round_trip(tmp_path: Path, name: str, dtype: str) -> None:
    original = volume(dtype)
    write_nifti(original, tmp_path / name, dtype=dtype)
    again = read_nifti(tmp_path / name)
    np.testing.assert_array_equal(again.data, original.data)
    assert grid_difference(original, again) is None
    image: Any = nib.load(tmp_path / name)
    assert image.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)
    assert bytes(image.header["descrip"]).rstrip(b"\0").decode() == RESEARCH_USE_ONLY


def test_same_volume_same_bytes(tmp_path: Path) -> None:
    write_nifti(volume(), tmp_path / "a.nii.gz", dtype=np.uint8)
    write_nifti(volume(), tmp_path / "b.nii.gz", dtype=np.uint8)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_booleans_and_views_that_run_backwards(tmp_path: Path) -> None:
    mask = Volume(volume().data[::-1, :, ::-1] > 1, AFFINE)
    write_nifti(mask, tmp_path / "a.nii.gz", dtype=np.uint8)
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz").data, mask.data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.full((3, 3, 3), 300), r"values in 0\.\.255 are required for uint8, got 300\.\.300"),
        (np.full((3, 3, 3), -1), r"got -1\.\.-1"),
        (np.full((3, 3, 3), 0.5), "whole numbers are required"),
        (np.full((3, 3, 3), np.nan), "values in 0"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_nifti(Volume(data, AFFINE), tmp_path / "a.nii.gz", dtype=np.uint8)
    assert not list(tmp_path.iterdir())


def test_other_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.nii or \.nii\.gz is required, got a\.mgz"):
        write_nifti(volume(), tmp_path / "a.mgz", dtype=np.uint8)


@needs_data
@pytest.mark.parametrize(
    "path", sorted((DATA / "niivue_headers" / "nifti_space").glob("*.nii.gz")), ids=lambda p: p.name
)
def test_mask_lies_on_the_grid_of_each_orientation(path: Path, tmp_path: Path) -> None:
    read = read_nifti(path)
    write_nifti(read.with_data(read.data > 50), tmp_path / "mask.nii.gz", dtype=np.uint8)
    source: Any = nib.load(path)
    written: Any = nib.load(tmp_path / "mask.nii.gz")
    assert written.shape == source.shape
    np.testing.assert_allclose(written.affine, source.affine, atol=1e-5)
    assert nib.aff2axcodes(written.affine) == nib.aff2axcodes(source.affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj) > 0, source.get_fdata() > 50)


@needs_data
def test_file_without_orientation_gets_none(tmp_path: Path) -> None:
    path = DATA / "megre_7t_crop" / "phase_with_nan.nii"
    write_nifti(read_nifti(path, frame=0), tmp_path / "out.nii.gz", dtype=np.float32)
    written: Any = nib.load(tmp_path / "out.nii.gz")
    assert int(written.header["sform_code"]) == int(written.header["qform_code"]) == 0
    source: Any = nib.load(path)
    np.testing.assert_allclose(written.affine, source.affine, atol=1e-5)
