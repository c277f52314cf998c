"""A cohort as DICOM: readable, the same grey values, of one vendor at a time."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet.cli.phantom import command
from cmbnet.errors import UsageError
from cmbnet.io import read_nifti
from cmbnet.io.dicom import read_dicom_series
from cmbnet.phantom.dicom import Vendor, write_dicom_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    arguments = ["-o", str(folder), "--anatomy", "procedural", "--dicom", "siemens"]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return folder


def test_the_series_shows_what_the_nifti_file_shows(cohort: Path) -> None:
    (folder,) = (cohort / "dicom").iterdir()
    nifti = read_nifti(cohort / "images" / f"{folder.name}.nii.gz")
    volume, source = read_dicom_series(folder)
    # Both grids cover the same box; the scanner's axes point left, back and up.
    corners = [
        np.sort((v.affine @ np.array([*end, 1.0]))[:3])
        for v in (nifti, volume)
        for end in [(np.array(v.shape) - 1) / 2]
    ]
    np.testing.assert_allclose(corners[0], corners[1], atol=1e-3)
    np.testing.assert_allclose(
        np.sort(volume.data.ravel()) / 4095,
        np.sort(nifti.data.ravel()) / nifti.data.max(),
        atol=0.51 / 4095,
    )
    assert source.attributes.PatientID == folder.name


def test_another_vendor_replaces_the_first(cohort: Path) -> None:
    (folder,) = (cohort / "dicom").iterdir()
    assert len(list(folder.rglob("IM*"))) > 24
    assert list(write_dicom_cohort(cohort, vendor=Vendor.PHILIPS, enhanced=True)) == [folder.name]
    files = list(folder.rglob("IM*"))
    assert len(files) == len({file.parent for file in files})  # a file a series
    assert read_dicom_series(folder)[1].attributes.Manufacturer.startswith("Philips")


def test_enhanced_without_a_vendor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--enhanced needs --dicom"):
        CliRunner().invoke(
            command, ["-o", str(tmp_path / "c"), "--enhanced"], catch_exceptions=False
        )
    assert not (tmp_path / "c").exists()
