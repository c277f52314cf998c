"""The worker writes the objects that the settings ask for, in the order of sending."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from cmbnet.bundle import Bundle
from cmbnet.edge.config import WorkerSettings
from cmbnet.edge.process import StudyProcessor
from cmbnet.edge.runner import objects_in
from cmbnet.edge.worker import Job
from cmbnet.phantom.dicom import Vendor, write_dicom_series
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
