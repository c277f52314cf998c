"""Two studies of a patient, from the scanner over the node to the PACS."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom

from cmbnet.bundle import Bundle
from cmbnet.edge.config import WorkerSettings
from cmbnet.edge.process import StudyProcessor
from cmbnet.edge.records import State
from cmbnet.phantom.dicom import ScanHeader, Vendor, write_dicom_series
from tests.helpers.dicom_series import edit
from tests.helpers.edge_peers import forget_sockets, sockets_left_open, wait_for
from tests.helpers.edge_site import Tell, site_in
from tests.helpers.tiny_scan import DOTS, tiny_scan

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = sockets_left_open


def study(folder: Path, year: int, dots: int) -> list[Path]:
    """Write a study without phase."""
    scan = tiny_scan(DOTS[:dots])
    header = ScanHeader(name=f"SCAN-{year}", date=f"{year}0102")
    scan = scan.with_data(scan.data * (1 + 0.01 * (year % 10)))
    write_dicom_series(scan, folder, vendor=Vendor.SIEMENS, scan=header)
    shutil.rmtree(folder / "3")
    files = sorted(folder.rglob("IM*"))
    for file in files:
        edit(file, lambda dataset: setattr(dataset, "PatientID", "only-patient"))
    return files


def test_the_report_says_what_is_new(
    tiny_bundle: Bundle, tmp_path: Path, record_property: Tell
) -> None:
    settings = WorkerSettings(
        bundle=str(tiny_bundle.path), backend="litert:float32", follow_up=True
    )
    with site_in(tmp_path, record_property) as site:
        site.open(processor=StudyProcessor(settings), worker=settings.model_dump())
        uids, said = [], []
        for year, dots in ((2024, 1), (2026, 3)):
            files = study(tmp_path / str(year), year, dots)
            assert site.send(files) == {0: len(files)}
            uids.append(str(pydicom.dcmread(files[0]).StudyInstanceUID))
            run = wait_for(site.node, uids[-1], State.COMMITTED).run
            report = site.node.folders.results / uids[-1] / str(run) / "sr.dcm"
            assert pydicom.dcmread(report).SOPInstanceUID in site.pacs.stored
            said.append(pydicom.dcmread(report).to_json())
        assert "Compared with" not in said[0]
        assert f"Compared with the scan of study {uids[0]}: 2 new, 1 persistent" in said[1]
        assert "ARIA-H by microhaemorrhages: mild" in said[1]
        assert site.told("study_run")[-1]["new_lesions"] == 2
        for file in site.node.folders.root.glob("journal.sqlite*"):
            assert b"only-patient" not in file.read_bytes()
