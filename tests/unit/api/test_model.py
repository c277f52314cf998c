"""The Python face: every form of a scan gives the same answer, and the answer is at hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import cmbnet
from cmbnet.bundle import Bundle
from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.io import write_nifti
from cmbnet.volume import Volume, grid_difference
from tests.helpers.tiny_scan import DOTS, small_scan

nibabel = pytest.importorskip("nibabel")


@pytest.fixture(scope="module")
def model(tiny_bundle: Bundle) -> Any:
    with cmbnet.load(tiny_bundle.path, backend="litert:float32", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def found(model: cmbnet.Model) -> cmbnet.Found:
    return model.predict(small_scan())


def centres(found: cmbnet.Found) -> list[tuple[float, ...]]:
    return sorted(lesion.centre_ras_mm for lesion in found.lesions)


def test_each_form_of_a_scan_gives_the_same_lesions(
    model: cmbnet.Model, found: cmbnet.Found, tmp_path: Path
) -> None:
    volume = small_scan()
    file = tmp_path / "scan.nii.gz"
    write_nifti(volume, file, dtype=np.float32)
    image = volume.to_nibabel()
    forms = [str(file), file, image, (np.asarray(image.dataobj), image.affine)]
    for form in forms:
        np.testing.assert_allclose(centres(model.predict(form)), centres(found), atol=1e-4)
    assert len(found.lesions) == len(DOTS)


def test_simpleitk_images_come_and_go(model: cmbnet.Model, found: cmbnet.Found) -> None:
    pytest.importorskip("SimpleITK")
    volume = small_scan()
    image = volume.to_sitk()
    back = Volume.from_sitk(image)
    assert grid_difference(volume, back) is None
    np.testing.assert_array_equal(volume.data, back.data)
    np.testing.assert_allclose(centres(model.predict(image)), centres(found), atol=1e-4)


def test_simpleitk_and_nibabel_place_a_voxel_alike() -> None:
    """ITK counts to the left and to posterior: its own point must be ours with two signs turned."""
    pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(3)
    turned, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turned * (2.0, 0.6, 0.5)
    affine[:3, 3] = (10.0, -20.0, 30.0)
    volume = Volume(rng.random((3, 4, 5)).astype(np.float32), affine)
    left, posterior, superior = volume.to_sitk().TransformIndexToPhysicalPoint((4, 2, 1))
    assert (-left, -posterior, superior) == pytest.approx(volume.world_mm((1, 2, 4)), abs=1e-5)
    nib = volume.to_nibabel()
    assert (nib.affine @ [4, 2, 1, 1])[:3] == pytest.approx(volume.world_mm((1, 2, 4)))
    assert nib.dataobj[4, 2, 1] == volume.data[1, 2, 4]


def test_an_affine_of_the_other_axis_order_is_refused(model: cmbnet.Model) -> None:
    """The trap: an array (z, y, x) with nibabel's affine for (i, j, k)."""
    data = np.zeros((72, 448, 384), np.float32)
    with pytest.raises(InputRefused, match=r"36 x 224 x 768 mm .* same order of axes"):
        model.predict(Volume(data, np.diag([0.5, 0.5, 2.0, 1.0])))


@pytest.mark.parametrize("what", [3, (np.zeros((3, 3, 3)),), (np.zeros((3, 3, 3)), np.eye(3))])
def test_what_is_no_scan_is_named(model: cmbnet.Model, what: Any) -> None:
    with pytest.raises(UsageError, match=r"a scan is a path|4x4 affine"):
        model.predict(what)


def test_masks_and_labels_lie_on_the_grid_of_the_scan(found: cmbnet.Found) -> None:
    scan = small_scan()
    for volume in (found.mask, found.labels, found.probability):
        assert grid_difference(scan, volume) is None
    assert set(np.unique(found.mask.data)) == {0, 1}
    assert set(np.unique(found.labels.data)) == {0, *(lesion.id for lesion in found.lesions)}


def test_the_saved_files_are_those_of_the_command_line(found: cmbnet.Found, tmp_path: Path) -> None:
    report = found.save(tmp_path / "case")
    assert report.is_file()
    names = {file.name for file in report.parent.iterdir()}
    files = {"mask.nii.gz", "lesions.nii.gz", "lesions.csv", "result.json", "report.html"}
    assert names == files | {"thumbnail.jpg"}


def test_the_table_has_a_row_a_lesion(found: cmbnet.Found) -> None:
    pytest.importorskip("pandas")
    table = found.lesions.to_pandas()
    assert list(table["id"]) == [lesion.id for lesion in found.lesions]
    assert len(found.lesions[1:]) == len(DOTS) - 1
    assert repr(found.lesions).startswith("3 lesions")


def test_a_notebook_shows_summary_and_pictures(found: cmbnet.Found) -> None:
    shown = found._repr_html_()
    assert "3 possible microbleeds were found" in shown
    assert shown.count("<img") == len(DOTS)
    assert cmbnet.RESEARCH_USE_ONLY in shown


def test_a_brain_mask_may_be_an_image(model: cmbnet.Model) -> None:
    scan = small_scan()
    head = ndimage.binary_closing(scan.data > 300, iterations=4)
    brain = scan.with_data(head.astype(np.uint8)).to_nibabel()
    assert len(model.predict(scan, brain_mask=brain).lesions) == len(DOTS)


def test_importing_cmbnet_imports_no_array_library() -> None:
    code = "import cmbnet, sys; print([m for m in ('numpy', 'click') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = cmbnet.lode


def test_many_scans_come_in_order_and_a_bad_one_gives_its_error(
    model: cmbnet.Model, found: cmbnet.Found, tmp_path: Path
) -> None:
    file = tmp_path / "scan.nii"
    write_nifti(small_scan(), file, dtype=np.float32)
    many = list(model.predict_many(iter([small_scan(), tmp_path / "none.nii", file, 7])))
    first, missing, second, wrong = many
    assert isinstance(missing, UnreadableFile)
    assert isinstance(wrong, UsageError)
    for one in (first, second):
        assert isinstance(one, cmbnet.Found)
        np.testing.assert_array_equal(one.labels.data, found.labels.data)
    with pytest.raises(UsageError, match="frames"):
        model.predict_many([], frames=1)
