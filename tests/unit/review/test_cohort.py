"""Cases and scans of a review, and how they are turned for the page."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cmbnet.cli.cases import collect_cases
from cmbnet.errors import InputRefused, UnreadableFile
from cmbnet.io import read_nifti, write_nifti
from cmbnet.preprocess.orientation import closest_orientation
from cmbnet.review import open_cohort
from cmbnet.review.cohort import OpenCase
from cmbnet.volume import Volume

AFFINES: dict[str, list[list[float]]] = {
    "upright": [[0, 0, 0.5], [0, 0.6, 0], [2, 0, 0]],
    "flipped": [[0, 0, -0.5], [0, -0.6, 0], [-2, 0, 0]],
    "sagittal": [[2, 0, 0], [0, 0.6, 0], [0, 0, -0.5]],
    "oblique": [[0.1, 0.1, 0.5], [0, -0.6, 0.1], [2, 0, 0.05]],
}


@pytest.mark.parametrize("name", AFFINES)
def test_the_page_shows_front_up_and_the_right_of_the_patient_on_the_left(name: str) -> None:
    affine = np.eye(4)
    affine[:3, :3] = AFFINES[name]
    volume = Volume(np.arange(3 * 4 * 5).reshape(3, 4, 5), affine)
    opened = OpenCase(None, volume, {})  # type: ignore[arg-type]
    every = np.argwhere(opened.shown(volume.data) >= 0)
    assert opened.shown(volume.data).shape == opened.shown_shape
    back = opened.to_scan(every)
    assert np.array_equal(volume.data[tuple(back.T)], opened.shown(volume.data)[tuple(every.T)])
    assert np.array_equal(opened.to_shown(back), every)
    step_mm = [
        np.subtract(volume.world_mm(tuple(opened.to_scan(np.eye(3, dtype=int)[[n]])[0])),
                    volume.world_mm(tuple(opened.to_scan(np.zeros((1, 3), int))[0])))
        for n in range(3)
    ]  # fmt: skip
    assert step_mm[0][2] > 0  # to superior
    assert step_mm[1][1] < 0  # to posterior
    assert step_mm[2][0] < 0  # to left
    assert opened.shown_spacing_mm == pytest.approx([np.linalg.norm(step) for step in step_mm])
    assert opened.turn == closest_orientation(affine)
    flat = [3, 17, 59]
    assert opened.scan_voxels(opened.shown_voxels(flat)) == tuple(flat)


def test_pixels_are_whole_and_stretched() -> None:
    volume = Volume(np.array([[[-5.0, 0.0], [5.0, 15.0]]]), np.eye(4)[[2, 1, 0, 3]])
    opened = OpenCase(None, volume, {})  # type: ignore[arg-type]
    grey = np.frombuffer(opened.pixels(), "<u2")
    assert grey.min() == 0
    assert sorted(grey) == sorted(np.frombuffer(opened.pixels(), "<u2"))
    flat = OpenCase(None, volume.with_data(volume.data * 0), {})  # type: ignore[arg-type]
    assert set(flat.pixels()) == {0}


def test_scans_are_found_beside_the_results(study: Path) -> None:
    cohort = open_cohort(study / "results")
    assert [case.name for case in cohort.cases] == ["scan-0", "scan-1"]
    opened = cohort.open(cohort.cases[0])
    assert opened.volume.shape == (24, 96, 96)
    labels = read_nifti(study / "results" / "scan-0" / "lesions.nii.gz").data
    assert len(opened.outlines) == 3
    assert all((labels.ravel()[voxels] == n).all() for n, voxels in opened.outlines.items())
    assert cohort.open(cohort.cases[1]).outlines == {}


def test_one_case_is_a_cohort(study: Path) -> None:
    cohort = open_cohort(study / "results" / "scan-0", collect_cases([str(study / "scans")]))
    assert [case.name for case in cohort.cases] == ["scan-0"]
    assert cohort.open(cohort.cases[0]).outlines


def test_scans_are_named_where_they_have_moved(study: Path, tmp_path: Path) -> None:
    shutil.move(study / "scans", tmp_path / "elsewhere")
    cohort = open_cohort(study / "results")
    with pytest.raises(InputRefused, match=r"the scan scan-0.nii.gz of case scan-0 was not found"):
        cohort.open(cohort.cases[0])
    named = open_cohort(study / "results", collect_cases([str(tmp_path / "elsewhere")]))
    assert named.open(named.cases[0]).outlines


def test_a_changed_scan_is_refused(study: Path) -> None:
    file = study / "scans" / "scan-0.nii.gz"
    scan = read_nifti(file)
    write_nifti(scan.with_data(scan.data + 1), file, dtype=np.float32)
    cohort = open_cohort(study / "results")
    with pytest.raises(InputRefused, match="has changed since the prediction"):
        cohort.open(cohort.cases[0])


def test_labels_that_do_not_fit_are_refused(study: Path) -> None:
    file = study / "results" / "scan-0" / "lesions.nii.gz"
    labels = read_nifti(file)
    write_nifti(labels.with_data(np.where(labels.data == 2, 0, labels.data)), file, dtype=np.uint16)
    cohort = open_cohort(study / "results")
    with pytest.raises(InputRefused, match=r"lesions of .*result.json are required"):
        cohort.open(cohort.cases[0])


def test_a_damaged_result_stops_no_other_case(study: Path) -> None:
    (study / "results" / "scan-0" / "result.json").write_text("{}")
    cohort = open_cohort(study / "results")
    assert "cannot be read by this version" in cohort.cases[0].fault
    with pytest.raises(InputRefused, match="cannot be read by this version"):
        cohort.open(cohort.cases[0])
    assert not cohort.cases[1].fault


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"a result.json of `cmbnet predict` is required"):
        open_cohort(tmp_path)
