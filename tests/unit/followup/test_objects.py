"""SEG and SR of a comparison: one lesion has one tracking UID at all time points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import pydicom
import pytest

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.errors import UsageError
from cmbnet.followup import Compared, compare_scans, write_comparison
from cmbnet.phantom.dicom import ScanHeader, Vendor, write_dicom_series
from cmbnet.predict import Request, predict_file
from cmbnet.report.dicom import write_dicom_results
from cmbnet.report.dicom.content import result_of
from tests.helpers.dicom_series import edit
from tests.helpers.tiny_scan import DOTS, tiny_scan
from tests.unit.report_dicom.test_objects import dciodvfy, needs_dciodvfy

TRACKING = "Tracking Unique Identifier"


@pytest.fixture(scope="module")
def compared(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, tiny_backend: Backend
) -> Compared:
    """Two dots, and a year later the first of them and another."""
    answers = []
    for year, dots in (("2025", DOTS[:2]), ("2026", (DOTS[0], DOTS[2]))):
        folder = tmp_path_factory.mktemp("study") / "scan"
        scan = tiny_scan(dots)
        scan = scan.with_data(scan.data * (1.0 if year == "2025" else 1.01))
        header = ScanHeader(name=f"SCAN-{year}", date=f"{year}0102")
        write_dicom_series(scan, folder, vendor=Vendor.SIEMENS, scan=header)
        for file in folder.rglob("IM*"):
            edit(file, _of_one_patient)
        answers.append(predict_file(folder, tiny_bundle, tiny_backend, Request()))
    return compare_scans(answers)


def _of_one_patient(header: pydicom.FileDataset) -> None:
    header.PatientID = "one"


def tracking(segmentation: Path) -> dict[str, str]:
    segments = hd.seg.segread(segmentation).SegmentSequence
    return {str(one.TrackingID): str(one.TrackingUID) for one in segments}


def texts(item: pydicom.Dataset) -> dict[str, list[str]]:
    """Values of a report by the meaning of their names."""
    found: dict[str, list[str]] = {}
    for one in item.get("ContentSequence", []):
        if "ConceptNameCodeSequence" in one:
            values = [one.get(key) for key in ("TextValue", "UID")]
            values += [code.CodeMeaning for code in one.get("ConceptCodeSequence", [])]
            values += [n.NumericValue for n in one.get("MeasuredValueSequence", [])]
            meaning = one.ConceptNameCodeSequence[0].CodeMeaning
            found.setdefault(meaning, []).extend(str(v) for v in values if v is not None)
        for name, inner in texts(one).items():
            found.setdefault(name, []).extend(inner)
    return found


@needs_dciodvfy
def test_objects_of_both_scans(compared: Compared, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_comparison(compared, out, dicom=("seg", "sr"))
    files = sorted(out.glob("scan-*/*.dcm"))
    assert [file.relative_to(out).as_posix() for file in files] == [
        "scan-1/seg.dcm", "scan-1/sr.dcm", "scan-2/seg.dcm", "scan-2/sr.dcm",
    ]  # fmt: skip
    for file in files:
        assert [line for line in dciodvfy(file) if "<RADELEMENT>" not in line] == []
    first, later = (tracking(out / f"scan-{n}" / "seg.dcm") for n in (1, 2))
    assert set(first) == {"Lesion 1", "Lesion 2"}
    (kept,) = first.keys() & later.keys()
    assert first[kept] == later[kept]
    assert len({*first.values(), *later.values()}) == 3
    said = [texts(pydicom.dcmread(out / f"scan-{n}" / "sr.dcm")) for n in (1, 2)]
    for uids, report in zip((first, later), said, strict=True):
        assert set(uids.values()) <= set(report[TRACKING])
    points = [report["Subject Time Point Identifier"] for report in said]
    studies = [answer.record.dicom.study_instance_uid for answer in compared.answers]  # type: ignore[union-attr]
    assert [set(one) for one in points] == [{study} for study in studies]
    assert "Change since the first scan" not in said[0]
    assert sorted(said[1]["Change since the first scan"]) == ["New", "Stable"]
    assert said[0]["ARIA baseline"] == ["1-4"]
    assert said[1]["ARIA-H follow-up"] == ["mild"]
    assert [float(n) for n in said[1]["Number of new lesions since the first scan"]] == [1.0]
    assert any("no longer seen" in one for one in said[1]["Comment"])


def test_the_first_scan_keeps_the_tracking_of_its_own_report(
    compared: Compared, tmp_path: Path
) -> None:
    """The SR that ``cmbnet predict`` wrote a year ago names the lesions by the same UIDs."""
    first = compared.answers[0]
    assert first.record.dicom is not None
    paths = write_dicom_results(result_of(first), first.record.dicom, tmp_path / "alone")
    write_comparison(compared, tmp_path / "out", dicom=("seg",))
    assert paths.segmentation is not None
    alone = tracking(paths.segmentation)
    assert set(alone.values()) == set(tracking(tmp_path / "out/scan-1/seg.dcm").values())


def test_arrays_have_no_dicom_objects(
    compared: Compared, tiny_bundle: Bundle, tiny_backend: Backend, tmp_path: Path
) -> None:
    plain = [
        replace(one, record=replace(one.record, dicom=None, file=f"{n}.nii"))
        for n, one in enumerate(compared.answers)
    ]
    with pytest.raises(UsageError, match=r"a DICOM series is required .* got 0.nii"):
        write_comparison(compare_scans(plain), tmp_path / "out", dicom=("sr",))
    assert list(tmp_path.iterdir()) == []
