"""``cmbnet predict`` on DICOM: the same lesions as on NIfTI, SEG and SR, and no patient's name."""

from __future__ import annotations

import csv
import datetime
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pypdfium2 import PdfDocument

from cmbnet.bundle import Bundle
from cmbnet.io import read_nifti, write_nifti
from cmbnet.io.dicom import read_dicom_series
from cmbnet.phantom.dicom import Vendor, write_dicom_series
from cmbnet.volume import grid_difference
from tests.helpers.dicom_series import edit
from tests.helpers.tiny_scan import DOTS, SHAPE, tiny_scan

Run = Callable[..., "subprocess.CompletedProcess[str]"]
COUNT = "Number of lesions"
SECRETS = ("zimmermann", "friederike", "19470213", "1947-02-13", "kis-998877", "998877")
EVERY_OBJECT = ("--dicom-seg", "--dicom-sr", "--dicom-key-images", "--dicom-pdf")
PATIENT_FOLDER = "ZIMMERMANN_Friederike 13.02.1947 KIS998877"


def named(dataset: FileDataset) -> None:
    dataset.PatientName = "Zimmermann^Friederike"
    dataset.PatientID = "KIS-998877"
    dataset.PatientBirthDate = "19470213"
    dataset.SeriesDescription = "SWI Zimmermann"


def call(*args: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "cmbnet", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def run(tiny_bundle: Bundle) -> Run:
    return lambda *args: call("predict", "--model", tiny_bundle.path, *args)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scan with dots as NIfTI and as the DICOM study of a patient; and noise of another."""
    folder = tmp_path_factory.mktemp("scans")
    write_nifti(tiny_scan(), folder / "dots.nii.gz", dtype=np.float32)
    write_dicom_series(tiny_scan(), folder / PATIENT_FOLDER, vendor=Vendor.SIEMENS)
    noise = np.abs(np.random.default_rng(0).standard_normal(SHAPE))
    write_dicom_series(
        tiny_scan().with_data(noise), folder / "Zimmermann noise", vendor=Vendor.GE, enhanced=True
    )
    for path in folder.rglob("IM*"):
        edit(path, named)
    return folder


def only_case(out: Path) -> Path:
    (case,) = (path for path in out.iterdir() if path.is_dir() and not path.name.startswith("."))
    return case


def result_of(case: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((case / "result.json").read_text())
    return values


def summary(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def count_of(report: pydicom.Dataset) -> list[int]:
    """Values of "number of lesions" anywhere in a report."""
    found = []
    for item in report.get("ContentSequence") or []:
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeMeaning == COUNT:
            found.append(int(item.MeasuredValueSequence[0].NumericValue))
        found += count_of(item)
    return found


def said_in(report: pydicom.Dataset) -> list[tuple[str, str]]:
    """All values but UIDs and times."""
    return [
        (item.keyword, str(item.value))
        for item in report.iterall()
        if item.VR not in ("SQ", "UI", "DA", "TM")
    ]


@pytest.fixture(scope="module")
def answered(run: Run, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("answered")
    done = run(scans / PATIENT_FOLDER, "-o", out, *EVERY_OBJECT)
    assert done.returncode == 0, done.stderr
    assert "3 lesions (0 small, 3 large), positive" in done.stdout
    (out / "said.txt").write_text(done.stdout)
    return out


def test_dicom_and_nifti_of_one_scan_give_the_same_lesions(
    run: Run, scans: Path, answered: Path, tmp_path: Path
) -> None:
    assert run(scans / "dots.nii.gz", "-o", tmp_path).returncode == 0
    lesions = {}
    for name, case in (("nifti", tmp_path / "dots"), ("dicom", only_case(answered))):
        found = result_of(case)["lesions"]
        lesions[name] = np.array(
            sorted(
                [*one["centre_ras_mm"], one["volume_mm3"], one["max_in_plane_diameter_mm"]]
                for one in found
            )
        )
    assert len(lesions["nifti"]) == len(DOTS)
    np.testing.assert_allclose(lesions["dicom"], lesions["nifti"], atol=0.05)


def test_masks_lie_on_the_grid_of_the_series(scans: Path, answered: Path) -> None:
    volume, _ = read_dicom_series(scans / PATIENT_FOLDER)
    case = only_case(answered)
    for name in ("mask", "lesions"):
        assert grid_difference(read_nifti(case / f"{name}.nii.gz"), volume) is None
    assert set(result_of(case)["files"]) == {path.name for path in case.iterdir()}


def test_the_segmentation_is_the_mask(scans: Path, answered: Path) -> None:
    case = only_case(answered)
    seg = hd.seg.segread(case / "seg.dcm")
    _, source = read_dicom_series(scans / PATIENT_FOLDER)
    pixels = seg.get_pixels_by_source_instance(
        list(source.sop_instance_uids), ignore_spatial_locations=True, combine_segments=False,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    labels = read_nifti(case / "lesions.nii.gz").data
    assert seg.number_of_segments == len(DOTS)
    np.testing.assert_array_equal(pixels.any(axis=-1), labels > 0)
    for number in range(1, len(DOTS) + 1):
        assert len(np.unique(labels[pixels[..., number - 1] > 0])) == 1


def test_the_report_goes_back_into_the_study(scans: Path, answered: Path) -> None:
    report = pydicom.dcmread(only_case(answered) / "sr.dcm")
    _, source = read_dicom_series(scans / PATIENT_FOLDER)
    assert report.StudyInstanceUID == source.study_instance_uid
    assert report.PatientID == "KIS-998877"  # of all outputs only DICOM names the patient
    assert "RESEARCH ONLY" in report.SeriesDescription
    assert count_of(report) == [len(DOTS)]
    made = datetime.datetime.strptime(report.ContentDate, "%Y%m%d").date()
    assert abs((made - datetime.date.today()).days) <= 1, "when it was made, not the scan"


def test_key_images_and_pdf_go_back_into_the_study(scans: Path, answered: Path) -> None:
    case = only_case(answered)
    _, source = read_dicom_series(scans / PATIENT_FOLDER)
    key_images = sorted(case.glob("key-*.dcm"))
    assert [path.name for path in key_images] == [f"key-0{n}.dcm" for n in range(1, len(DOTS) + 1)]
    document = pydicom.dcmread(case / "pdf.dcm")
    labels = read_nifti(case / "lesions.nii.gz").data
    for number, path in enumerate(key_images, start=1):
        image = pydicom.dcmread(path)
        orange = np.abs(image.pixel_array.astype(int) - (255, 176, 0)).sum(axis=2) < 60
        assert orange[60:700].sum() > 40, "the outline"
        assert orange[735:].sum() > 200, "research use only"
        z = source.sop_instance_uids.index(image.SourceImageSequence[0].ReferencedSOPInstanceUID)
        assert number in labels[z]
    for item in (image, document):
        assert item.StudyInstanceUID == source.study_instance_uid
        assert item.PatientID == "KIS-998877"
        assert "RESEARCH ONLY" in item.SeriesDescription
    pdf = document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert document.BurnedInAnnotation == "YES"  # text that names the patient
    pages = [page.get_textpage().get_text_range() for page in PdfDocument(pdf)]
    assert len(pages) == 2
    for page in pages:
        assert "ID KIS-998877" in page


def test_no_other_output_names_the_patient(answered: Path) -> None:
    looked_at = set()
    for path in answered.rglob("*"):
        assert_silent(str(path.relative_to(answered)))
        if path.is_file() and path.suffix != ".dcm":
            looked_at.add(path.name)
            assert_silent(path.read_bytes().decode("latin-1"))
    assert looked_at >= {"result.json", "report.html", "lesions.csv", "summary.csv", "said.txt"}


def assert_silent(said: str) -> None:
    for secret in SECRETS:
        assert secret not in said.lower(), secret


def test_a_finished_study_is_skipped_in_whatever_folder_it_comes(
    run: Run, scans: Path, answered: Path, tmp_path: Path
) -> None:
    shutil.copytree(answered, tmp_path / "out")
    again = run(scans / PATIENT_FOLDER, "-o", tmp_path / "out", *EVERY_OBJECT)
    assert "(finished before)" in again.stdout
    without = run(scans / PATIENT_FOLDER, "-o", tmp_path / "out")
    assert (without.returncode, "finished before" in without.stdout) == (0, False)
    # Stale objects would be sent for those of this run.
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_a_refused_scan_gets_a_report_without_a_count(
    run: Run, scans: Path, tmp_path: Path
) -> None:
    noise, out = scans / "Zimmermann noise", tmp_path / "out"
    done = run(noise, "-o", out, "--dicom-seg", "--dicom-sr")
    assert done.returncode == 3
    case = only_case(out)
    assert case.name.startswith("noise-")
    assert {path.name for path in case.iterdir()} == {"sr.dcm", "report.html"}
    report = pydicom.dcmread(case / "sr.dcm")
    assert b"Insufficient quality for interpretation" in (case / "sr.dcm").read_bytes()
    assert count_of(report) == []
    assert_silent(done.stderr + (out / "summary.csv").read_text())
    assert summary(out)[0]["status"] == "refused"

    # A refused scan is not read as far as its phase, so the forced run leaves the phase out, too.
    forced = run(noise, "-o", out, "--force", "--phase-series", "none", *EVERY_OBJECT)
    assert forced.returncode == 0
    # A forced count stays out of the study.
    assert said_in(pydicom.dcmread(case / "sr.dcm")) == said_in(report)
    assert [path.name for path in case.glob("*.dcm")] == ["sr.dcm"]
    assert result_of(case)["quality"]["forced"]

    assert run(noise, "-o", out, "--dicom-sr").returncode == 3
    assert not (case / "result.json").exists()


def test_a_refused_scan_leaves_a_page_that_names_nobody(
    run: Run, scans: Path, tmp_path: Path
) -> None:
    assert run(scans / "Zimmermann noise", "-o", tmp_path / "out").returncode == 3
    case = only_case(tmp_path / "out")
    assert [path.name for path in case.iterdir()] == ["report.html"]
    assert_silent((case / "report.html").read_text())


def test_a_series_can_be_named(run: Run, scans: Path, tmp_path: Path) -> None:
    magnitude = run(scans / PATIENT_FOLDER, "-o", tmp_path / "m", "--series", "3")
    assert magnitude.returncode in (0, 3)
    (row,) = summary(tmp_path / "m")
    assert "series 3 of" in row["input"] + row["reason"]
    unknown = run(scans / PATIENT_FOLDER, "-o", tmp_path / "u", "--series", "77")
    assert unknown.returncode == 4
    assert "0 series of *** *** *** are named 77" in unknown.stderr
    assert_silent(unknown.stderr)


def test_zips_damaged_studies_and_masks_side_by_side(run: Run, scans: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    (studies / "Zimmermann bad").mkdir(parents=True)
    for path in sorted((scans / PATIENT_FOLDER / "5").iterdir()):
        content = path.read_bytes()
        damaged = path.name.endswith("3")
        (studies / "Zimmermann bad" / path.name).write_bytes(content[:900] if damaged else content)
    with zipfile.ZipFile(studies / "Friederike.zip", "w") as archive:
        for path in sorted((scans / PATIENT_FOLDER).rglob("IM*")):
            archive.write(path, f"{path.parent.name}/{path.name}")
    done = run(studies / "*", scans / "dots.nii.gz", "-o", tmp_path / "out", "--jobs", 2)
    assert done.returncode in (3, 4)
    rows = {row["case"].partition("-")[0]: row for row in summary(tmp_path / "out")}
    assert {name: row["status"] for name, row in rows.items()} == {
        "bad": "refused",
        "dicom": "done",
        "dots": "done",
    }
    assert rows["dicom"]["lesions"] == rows["dots"]["lesions"] == "3"
    assert_silent(done.stderr + done.stdout + (tmp_path / "out" / "summary.csv").read_text())


def test_several_images_at_each_position(run: Run, scans: Path, tmp_path: Path) -> None:
    """A second time point of the series: nothing is averaged, one is chosen."""
    swi = tmp_path / "swi"
    shutil.copytree(scans / PATIENT_FOLDER / "5", swi)
    for number, path in enumerate(sorted(swi.iterdir()), start=1):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = 1000 + number
        dataset.AcquisitionNumber = 2
        dataset.SOPInstanceUID = f"2.25.{number}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(swi / f"second-{number}")
    out = tmp_path / "out"
    assert run(swi, "-o", out).returncode == 3
    second = run(swi, "-o", out, "--frame", 1)
    assert (second.returncode, "3 lesions" in second.stdout) == (0, True)
    third = run(swi, "-o", out, "--frame", 2)
    assert (third.returncode, "choose one with frame 0 to 1" in third.stderr) == (3, True)


@pytest.mark.parametrize("option", [[name] for name in EVERY_OBJECT] + [["--series", "4"]])
def test_what_only_dicom_can_give_is_refused_for_nifti(
    run: Run, scans: Path, tmp_path: Path, option: list[str]
) -> None:
    done = run(scans / "dots.nii.gz", "-o", tmp_path / "out", *option)
    assert done.returncode == 2
    assert f"a DICOM input is required for {option[0]}, got" in done.stderr
    assert not (tmp_path / "out").exists()


def test_from_phantom_to_report(run: Run, tmp_path: Path) -> None:
    """The whole chain by commands alone."""
    made = call(
        "phantom", "-o", tmp_path / "cohort", "--anatomy", "procedural", "--dicom", "philips",
        "--enhanced",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    found = {}
    for kind, scan in (
        ("nifti", tmp_path / "cohort" / "images"),
        ("dicom", tmp_path / "cohort" / "dicom" / "*"),
    ):
        objects = ["--dicom-seg", "--dicom-sr"] if kind == "dicom" else []
        done = run(scan, "-o", tmp_path / kind, "--force", *objects)
        assert done.returncode == 0, done.stderr
        found[kind] = [
            (lesion["size_class"], lesion["removed_by"])
            for lesion in result_of(only_case(tmp_path / kind))["lesions"]
        ]
    assert sorted(found["dicom"]) == sorted(found["nifti"])
    report = pydicom.dcmread(only_case(tmp_path / "dicom") / "sr.dcm")
    assert report.Manufacturer == "cmbnet"
