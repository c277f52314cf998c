"""Scanner, node and PACS as in a hospital: dcmtk sends, Orthanc keeps, the real pipeline runs.

The model is the tiny one of the tests, which finds dark dots; everything else is as shipped.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from cmbnet.bundle import Bundle
from cmbnet.edge.node import Node
from cmbnet.edge.records import State
from cmbnet.phantom.dicom import ScanHeader, Vendor, write_dicom_series
from tests.helpers.edge_peers import (
    SCANNER,
    forget_sockets,
    node_config,
    sockets_left_open,
    wait_for,
)
from tests.helpers.orthanc import Orthanc, free_port
from tests.helpers.tiny_scan import tiny_scan

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = [
    sockets_left_open,
    pytest.mark.skipif(
        shutil.which("storescu") is None, reason="storescu is not installed (apt install dcmtk)"
    ),
]


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle
) -> Iterator[tuple[Node, Orthanc]]:
    folder = tmp_path_factory.mktemp("edge")
    port = free_port()
    orthanc = Orthanc(folder / "orthanc", node_port=port)
    orthanc.start()
    config = node_config(
        folder / "node",
        port=port,
        pacs_port=orthanc.dicom_port,
        settle={"settle_s": 1},
        worker={"bundle": str(tiny_bundle.path), "memory_mb": 4096, "timeout_s": 120},
    )
    destination = config.destinations[0].model_copy(update={"ae_title": Orthanc.ae_title})
    node = Node(config.model_copy(update={"destinations": (destination,)}))
    node.start()
    yield node, orthanc
    node.stop()
    orthanc.stop()


def send(node: Node, folder: Path) -> None:
    """As a scanner does: every series of the examination, by dcmtk."""
    to = ("-aet", SCANNER, "-aec", "CMBNET", "127.0.0.1", str(node.receiver.port))
    subprocess.run(
        ["storescu", "+sd", "+r", "-nh", *to, str(folder)],
        check=True,
        capture_output=True,
        timeout=120,
    )


def scan(folder: Path, name: str, *, enhanced: bool = False) -> tuple[Path, str]:
    """A head with three dots as Siemens would send it; its folder and Study Instance UID."""
    paths = write_dicom_series(
        tiny_scan(),
        folder / name,
        vendor=Vendor.SIEMENS,
        scan=ScanHeader(name=name),
        enhanced=enhanced,
    )
    return folder / name, str(pydicom.dcmread(paths[0]).StudyInstanceUID)


@pytest.mark.parametrize("enhanced", [False, True])
def test_results_come_back_into_the_study(
    site: tuple[Node, Orthanc], tmp_path: Path, *, enhanced: bool
) -> None:
    node, orthanc = site
    folder, study = scan(tmp_path, f"ORTHANC-{enhanced}", enhanced=enhanced)
    send(node, folder)
    ended = wait_for(node, study, State.COMMITTED, seconds=120)
    assert (ended.outcome, ended.details["lesions"]) == ("done", 3)
    assert orthanc.modalities(study) == ["SEG", "SR"], "by QIDO-RS, in the study of the images"
    (delivery,) = node.journal.deliveries(study)
    assert delivery.state == "COMMITTED", "Orthanc reported by N-EVENT-REPORT"
    held = {one["00080018"]["Value"][0] for one in orthanc.find(study)}
    assert held == {one.sop_instance_uid for one in node.journal.results(study, 1)}


def test_what_the_pacs_holds_is_what_was_written(
    site: tuple[Node, Orthanc], tmp_path: Path
) -> None:
    node, orthanc = site
    folder, study = scan(tmp_path, "ORTHANC-BYTES")
    send(node, folder)
    wait_for(node, study, State.COMMITTED, seconds=120)
    written = {
        one.sop_instance_uid: node.folders.results / one.file
        for one in node.journal.results(study, 1)
    }
    for instance in orthanc.get("/instances?expand"):
        uid = instance["MainDicomTags"]["SOPInstanceUID"]
        if uid in written:
            held = pydicom.dcmread(io.BytesIO(orthanc.bytes(f"/instances/{instance['ID']}/file")))
            assert held == pydicom.dcmread(written.pop(uid))
            assert "RESEARCH ONLY" in held.SeriesDescription
    assert not written


def test_a_gap_is_reported_and_filled_by_late_slices(
    site: tuple[Node, Orthanc], tmp_path: Path
) -> None:
    node, orthanc = site
    folder, study = scan(tmp_path, "ORTHANC-LATE")
    late = tmp_path / "late"
    late.mkdir()
    for number in (10, 11):
        (folder / "5" / f"IM{number:06d}").rename(late / f"{number}")
    send(node, folder)
    ended = wait_for(node, study, State.COMMITTED, seconds=120)
    assert ended.outcome == "refused"
    assert orthanc.modalities(study) == ["SR"]
    send(node, late)
    end = time.monotonic() + 120
    while wait_for(node, study, *State).run < 2:
        assert time.monotonic() < end
        time.sleep(0.1)
    ended = wait_for(node, study, State.COMMITTED, seconds=120)
    assert (ended.outcome, ended.run, ended.details["lesions"]) == ("done", 2, 3)
    assert orthanc.modalities(study) == ["SEG", "SR", "SR"], "a PACS forgets nothing"
    before, after = (
        pydicom.dcmread(node.folders.results / study / run / "sr.dcm") for run in ("1", "2")
    )
    (predecessor,) = after.PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    (named,) = series.ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == before.SOPInstanceUID


def test_an_examination_without_swi_gets_no_objects(
    site: tuple[Node, Orthanc], tmp_path: Path
) -> None:
    node, orthanc = site
    folder, study = scan(tmp_path, "ORTHANC-NONE")
    shutil.rmtree(folder / "5")
    send(node, folder)
    ended = wait_for(node, study, State.FAILED, seconds=120)
    assert ended.outcome == "refused"
    assert "no SWI series" in ended.reason
    assert "PHANTOM" not in ended.reason
    assert orthanc.modalities(study) == []


def test_key_images_and_pdf_arrive_too(
    tmp_path: Path, site: tuple[Node, Orthanc], tiny_bundle: Bundle
) -> None:
    """Every object that the settings can ask for, by QIDO-RS, committed to, and readable."""
    _, orthanc = site
    worker = {"bundle": str(tiny_bundle.path), "memory_mb": 4096, "timeout_s": 120}
    config = node_config(
        tmp_path / "node",
        pacs_port=orthanc.dicom_port,
        settle={"settle_s": 1},
        worker=worker | {"key_images": True, "pdf": True},
    )
    # The PACS reports commitment to the port of the other node.
    destination = config.destinations[0].model_copy(
        update={"ae_title": Orthanc.ae_title, "commitment": False}
    )
    node = Node(config.model_copy(update={"destinations": (destination,)}))
    node.start()
    try:
        folder, study = scan(tmp_path, "ORTHANC-ALL")
        send(node, folder)
        ended = wait_for(node, study, State.COMMITTED, seconds=120)
        assert ended.details["lesions"] == 3
        assert orthanc.modalities(study) == ["DOC", "OT", "OT", "OT", "SEG", "SR"]
        held = [
            pydicom.dcmread(io.BytesIO(orthanc.bytes(f"/instances/{one['ID']}/file")))
            for one in orthanc.get("/instances?expand")
        ]
    finally:
        node.stop()
    returned = {one.Modality: one for one in held if one.StudyInstanceUID == study}
    assert bytes(returned["DOC"].EncapsulatedDocument).startswith(b"%PDF")
    assert returned["OT"].pixel_array.shape[2] == 3
    assert all("RESEARCH ONLY" in one.SeriesDescription for one in returned.values())
