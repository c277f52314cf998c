"""The worker writes the objects that the settings ask for, in the order of sending."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest

from cmbnet.bundle import Bundle
from cmbnet.edge.config import WorkerSettings
from cmbnet.edge.process import StudyProcessor
from cmbnet.edge.runner import objects_in
from cmbnet.edge.worker import Job
from cmbnet.phantom.dicom import Vendor, write_dicom_series
from tests.helpers.phase_scan import veined_scan
from tests.helpers.tiny_scan import DOTS, tiny_scan

PLAIN = ["seg.dcm", "sr.dcm"]
ALL = [*PLAIN, *(f"key-{n:02d}.dcm" for n in range(1, len(DOTS) + 1)), "pdf.dcm"]


@pytest.mark.parametrize(("more", "names"), [(False, PLAIN), (True, ALL)])
def test_objects_by_settings(
    tiny_bundle: Bundle, tmp_path: Path, more: bool, names: list[str]
) -> None:
    write_dicom_series(tiny_scan(), tmp_path / "study", vendor=Vendor.SIEMENS)
    images = sorted((tmp_path / "study").rglob("IM*"))
    processor = StudyProcessor(
        WorkerSettings(
            bundle=str(tiny_bundle.path), backend="litert:float32", key_images=more, pdf=more
        )
    )
    answer = processor(Job(tmp_path / "study", tmp_path / "out"))
    assert answer.outcome == "done"
    written = objects_in(tmp_path / "out")
    assert [path.name for path in written] == names
    (study,) = {str(pydicom.dcmread(path).StudyInstanceUID) for path in (*images, *written)}
    assert study


@pytest.mark.parametrize("vendor", list(Vendor))
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_phase_tells_the_calcification_apart(
    tiny_bundle: Bundle, tmp_path: Path, vendor: Vendor, enhanced: bool
) -> None:
    """Two dots of blood and one of calcium, with the phase of a left-handed scanner."""
    scan, phase = veined_scan()
    write_dicom_series(scan, tmp_path / "study", vendor=vendor, enhanced=enhanced, phase=phase)
    settings = WorkerSettings(bundle=str(tiny_bundle.path), backend="litert:float32")
    answer = StudyProcessor(settings)(Job(tmp_path / "study", tmp_path / "out"))
    assert (answer.outcome, answer.details["lesions"]) == ("done", 2)
    said = pydicom.dcmread(tmp_path / "out" / "sr.dcm").to_json()
    assert "2 microbleed candidates by AI, not reviewed; 1 possible calcification by phase" in said
    assert "phase used" in said
    segments = pydicom.dcmread(tmp_path / "out" / "seg.dcm").SegmentSequence
    types = [one.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for one in segments]
    assert types == [*["Silent micro-hemorrhage of brain"] * 2, "Pathologic calcification"]


def test_phase_can_be_switched_off(tiny_bundle: Bundle, tmp_path: Path) -> None:
    scan, phase = veined_scan()
    write_dicom_series(scan, tmp_path / "study", vendor=Vendor.SIEMENS, phase=phase)
    settings = WorkerSettings(bundle=str(tiny_bundle.path), backend="litert:float32", phase=False)
    answer = StudyProcessor(settings)(Job(tmp_path / "study", tmp_path / "out"))
    assert (answer.outcome, answer.details["lesions"]) == ("done", 3)
    assert "phase" not in pydicom.dcmread(tmp_path / "out" / "sr.dcm").to_json()


def test_a_study_without_phase_is_answered_as_before(tiny_bundle: Bundle, tmp_path: Path) -> None:
    scan, _ = veined_scan()
    write_dicom_series(scan, tmp_path / "study", vendor=Vendor.SIEMENS)
    shutil.rmtree(tmp_path / "study" / "3")  # the phase
    objects = []
    for phase in (True, False):
        out = tmp_path / f"out-{phase}"
        settings = WorkerSettings(
            bundle=str(tiny_bundle.path), backend="litert:float32", phase=phase
        )
        assert StudyProcessor(settings)(Job(tmp_path / "study", out)).details["lesions"] == 3
        objects.append({path.name: path.read_bytes() for path in objects_in(out)})
    assert objects[0] == objects[1]
