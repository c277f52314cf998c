"""Finished results are compared as they are, without the network; what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.errors import CmbnetError, InputRefused, UnreadableFile, UsageError
from cmbnet.followup import compare_scans
from cmbnet.io import write_nifti
from cmbnet.phantom.dicom import Vendor, write_dicom_series
from cmbnet.predict import Request, predict_file
from cmbnet.report import write_prediction
from cmbnet.report.finished import is_finished, read_answer
from tests.helpers.tiny_scan import DOTS, tiny_scan


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, tiny_backend: Backend
) -> Path:
    """Two scans, NIfTI and DICOM, and their results."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "scans").mkdir()
    later = tiny_scan(DOTS)
    write_nifti(tiny_scan(DOTS[:2]), folder / "scans" / "first.nii.gz", dtype=np.float32)
    write_dicom_series(
        later.with_data(later.data * 1.01), folder / "scans" / "study", vendor=Vendor.SIEMENS
    )
    for name, path in (("first", "first.nii.gz"), ("later", "study")):
        found = predict_file(folder / "scans" / path, tiny_bundle, tiny_backend, Request())
        write_prediction(found, folder / "results" / name)
    return folder


def test_results_give_the_same_as_scans(
    made: Path, tiny_bundle: Bundle, tiny_backend: Backend
) -> None:
    scans = [made / "scans" / name for name in ("first.nii.gz", "study")]
    results = [made / "results" / name for name in ("first", "later")]
    assert [is_finished(path) for path in (*scans, *results)] == [False, False, True, True]
    live = [predict_file(scan, tiny_bundle, tiny_backend, Request()) for scan in scans]
    read = [read_answer(one, tiny_bundle, scans=made / "scans") for one in results]
    a, b = (compare_scans(answers).comparison for answers in (live, read))
    for one, other in zip(a.follow_ups, b.follow_ups, strict=True):
        assert one.counts == other.counts
        assert one.aria_h == other.aria_h
    assert a.tracks == b.tracks
    assert a.time_points == b.time_points


def copied(made: Path, folder: Path) -> Path:
    shutil.copytree(made / "results" / "first", folder)
    return folder


def changed(folder: Path, **request: str) -> None:
    values = json.loads((folder / "result.json").read_text())
    values["request"] |= request
    (folder / "result.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"bundle_sha256": "0" * 64}, "results of the model dot-finder are required"),
        ({"code_sha256": "0" * 64}, "results of this version of cmbnet are required"),
        ({"input_sha256": "0" * 64}, r"\(first.nii.gz\) is required .* it has changed since"),
    ],
)
def test_results_of_another_model_version_or_scan_are_refused(
    made: Path, tiny_bundle: Bundle, tmp_path: Path, request_: dict[str, str], message: str
) -> None:
    folder = copied(made, tmp_path / "first")
    changed(folder, **request_)
    with pytest.raises(InputRefused, match=message):
        read_answer(folder, tiny_bundle, scans=made / "scans")


def test_a_scan_that_moved_is_refused(made: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="but it is not there"):
        read_answer(made / "results" / "first", tiny_bundle, scans=tmp_path)
    with pytest.raises(InputRefused, match="a DICOM input"):
        read_answer(made / "results" / "later", tiny_bundle, scans=tmp_path)
    with pytest.raises(UsageError, match="the folder of its scan is required"):
        read_answer(made / "results" / "first", tiny_bundle, scans=None)


def test_damaged_results_are_no_results(made: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = copied(made, tmp_path / "first")
    scan = tiny_scan().with_data(np.zeros((24, 96, 96)))
    write_nifti(replace(scan, data=scan.data[:9]), folder / "lesions.nii.gz", dtype=np.uint16)
    with pytest.raises(UnreadableFile, match="not on the grid of its scan"):
        read_answer(folder, tiny_bundle, scans=made / "scans")
    (folder / "lesions.nii.gz").unlink()
    with pytest.raises(CmbnetError, match=r"lesions\.nii\.gz"):
        read_answer(folder, tiny_bundle, scans=made / "scans")
    (folder / "result.json").write_text("{}")
    with pytest.raises(UnreadableFile, match="run cmbnet predict again"):
        read_answer(folder, tiny_bundle, scans=made / "scans")
