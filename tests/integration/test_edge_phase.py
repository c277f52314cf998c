"""A study with phase, from the scanner over the node to the PACS."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from cmbnet.bundle import Bundle
from cmbnet.edge.config import WorkerSettings
from cmbnet.edge.process import StudyProcessor
from cmbnet.edge.records import State
from cmbnet.phantom.dicom import Vendor, write_dicom_series
from tests.helpers.edge_peers import forget_sockets, sockets_left_open, wait_for
from tests.helpers.edge_site import Tell, site_in
from tests.helpers.phase_scan import veined_scan

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = sockets_left_open


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_the_phase_of_a_sent_study_is_used(
    tiny_bundle: Bundle, tmp_path: Path, record_property: Tell, enhanced: bool
) -> None:
    """The worker process reads it, within its limits of memory and time."""
    scan, phase = veined_scan()
    study = tmp_path / "study"
    files = write_dicom_series(scan, study, vendor=Vendor.PHILIPS, enhanced=enhanced, phase=phase)
    settings = WorkerSettings(bundle=str(tiny_bundle.path), backend="litert:float32")
    with site_in(tmp_path, record_property) as site:
        site.open(processor=StudyProcessor(settings), worker={"memory_mb": 4096})
        assert site.send(files) == {0: len(files)}
        uid = str(pydicom.dcmread(files[0]).StudyInstanceUID)
        done = wait_for(site.node, uid, State.COMMITTED)
        root = site.node.folders.results
        found = [
            pydicom.dcmread(root / one.file) for one in site.node.journal.results(uid, done.run)
        ]
        seg, sr = sorted(found, key=lambda one: str(one.Modality))
        assert set(site.pacs.stored) == {seg.SOPInstanceUID, sr.SOPInstanceUID}
        assert (
            "2 microbleed candidates by AI, not reviewed; 1 possible calcification" in sr.to_json()
        )
