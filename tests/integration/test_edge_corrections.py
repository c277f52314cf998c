"""The same objects again, with another patient or other pixels: nothing is thrown away."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileDataset

from cmbnet.bundle import Bundle
from cmbnet.edge.audit import AUDIT_FILE, verify_audit
from cmbnet.edge.config import WorkerSettings
from cmbnet.edge.process import StudyProcessor
from cmbnet.edge.records import State
from cmbnet.edge.watch import Watch
from cmbnet.phantom.dicom import Vendor, write_dicom_series
from tests.helpers.edge_peers import forget_sockets, sockets_left_open, wait_for
from tests.helpers.edge_processor import uid_of
from tests.helpers.edge_site import Site, Tell, results_of, site_in
from tests.helpers.tiny_scan import tiny_scan

__all__ = ["forget_sockets"]  # a fixture that every test of this file uses

pytestmark = sockets_left_open


@pytest.fixture
def site(tmp_path: Path, record_property: Tell) -> Iterator[Site]:
    with site_in(tmp_path, record_property) as opened:
        yield opened


def edit(files: list[Path], **values: str) -> list[Path]:
    for path in files:
        dataset = pydicom.dcmread(path)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    return files


def committed(site: Site, study: str, run: int) -> None:
    while wait_for(site.node, study, State.COMMITTED).run < run:
        pass


def sent(site: Site, study: str, run: int) -> dict[str, FileDataset]:
    """The objects of a run, by modality."""
    root = site.node.folders.results
    found = [pydicom.dcmread(root / one.file) for one in site.node.journal.results(study, run)]
    return {str(one.Modality): one for one in found}


def test_a_corrected_patient_replaces_the_wrong_one_everywhere(
    site: Site, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """With the network and the real objects: SEG and SR bear the new name, the SR the old SR's."""
    settings = WorkerSettings(bundle=str(tiny_bundle.path), backend="litert:float32")
    site.open(processor=StudyProcessor(settings), worker={"memory_mb": 4096})
    write_dicom_series(tiny_scan(), tmp_path / "study", vendor=Vendor.SIEMENS)
    files = sorted(path for path in (tmp_path / "study").rglob("*") if path.is_file())
    study = str(pydicom.dcmread(files[0]).StudyInstanceUID)
    edit(files, PatientID="WRONG-1", PatientName="WRONG^ONE")
    assert site.send(files) == {0: len(files)}
    committed(site, study, 1)
    before = sent(site, study, 1)
    edit(files, PatientID="RIGHT-2", PatientName="RIGHT^TWO")
    assert site.send(files) == {0: len(files)}
    committed(site, study, 2)
    after = sent(site, study, 2)
    assert before.keys() == after.keys() == {"SEG", "SR"}
    for kind, one in after.items():
        assert (one.PatientID, one.PatientName) == ("RIGHT-2", "RIGHT^TWO")
        assert one.SOPInstanceUID != before[kind].SOPInstanceUID
        assert site.pacs.stored[one.SOPInstanceUID] == 1
    (predecessor,) = after["SR"].PredecessorDocumentsSequence
    named = predecessor.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == before["SR"].SOPInstanceUID
    kept = [pydicom.dcmread(path) for path in (site.node.folders.spool / study).iterdir()]
    assert [one.PatientID for one in kept] == ["RIGHT-2"] * len(files)
    assert len(site.told("object_corrected")) == len(files)


@pytest.mark.parametrize("keyword", ["PatientName", "PatientBirthDate", "PatientSex"])
def test_any_part_of_an_identity_counts_and_only_once(site: Site, keyword: str) -> None:
    site.open()
    files = site.study("a")
    site.send(files)
    committed(site, uid_of("a"), 1)
    value = {"PatientName": "OTHER", "PatientBirthDate": "19470213", "PatientSex": "F"}[keyword]
    edit(files, **{keyword: value})
    for _ in range(2):
        assert site.send(files) == {0: 6}
        committed(site, uid_of("a"), 2)
    assert wait_for(site.node, uid_of("a"), State.COMMITTED).run == 2
    assert len(site.told("object_corrected")) == len(site.told("object_duplicate")) == 6


def test_what_says_nothing_of_the_patient_is_no_correction(site: Site) -> None:
    """A PACS that routes a study adds to its headers."""
    site.open()
    files = site.study("a")
    site.send(files)
    committed(site, uid_of("a"), 1)
    assert site.send(edit(files, RetrieveAETitle="PACS", StudyDescription="MR HEAD")) == {0: 6}
    assert len(site.told("object_duplicate")) == 6
    assert wait_for(site.node, uid_of("a"), State.COMMITTED).run == 1


def test_a_correction_after_the_purge_is_a_new_result(site: Site) -> None:
    site.open()
    files = site.study("a")
    site.send(files)
    committed(site, uid_of("a"), 1)
    before = results_of(site, "a")
    assert site.node.purge.step(everything=True) == 1
    site.send(edit(files, PatientID="RIGHT-2"))
    committed(site, uid_of("a"), 2)
    assert not set(before) & set(results_of(site, "a"))
    assert sent(site, uid_of("a"), 2)["SR"].TextValue == before[-1], "the SR that left the disk"


def test_the_same_study_after_the_purge_is_no_new_result(site: Site) -> None:
    # On a busy machine a second may pass between slices. A study is not to settle in between.
    site.open(settle={"settle_s": 2.0, "patience_s": 5})
    files = site.study("a")
    site.send(files)
    committed(site, uid_of("a"), 1)
    assert site.node.purge.step(everything=True) == 1
    assert site.send(files) == {0: 6}
    wait_for(site.node, uid_of("a"), State.RECEIVED, State.READY, State.RUNNING)
    assert wait_for(site.node, uid_of("a"), State.COMMITTED).run == 1
    assert set(site.pacs.stored.values()) == {1}


def test_a_whole_object_replaces_one_that_was_cut_off(site: Site) -> None:
    site.open()
    files = site.study("a")
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-100])
    assert site.send(files) == {0: 6}
    committed(site, uid_of("a"), 1)
    files[0].write_bytes(whole)
    assert site.send(files) == {0: 6}
    committed(site, uid_of("a"), 2)
    kept = (site.node.folders.spool / uid_of("a")).glob("*.dcm")
    assert {len(pydicom.dcmread(path).PixelData) for path in kept} == {512}


def test_other_pixels_under_a_known_uid_are_an_alarm(site: Site) -> None:
    log = io.StringIO()
    site.open(watch={"port": None})
    watch = Watch(site.node.config, site.node.journal, log=log)
    site.node.events.add(watch)
    try:
        first = site.study("a")
        assert site.send(first) == {0: 6}
        committed(site, uid_of("a"), 1)
        again = site.study("a")
        for path in again:
            path.write_bytes(path.read_bytes()[:-2] + b"??")
        assert site.send(edit(again, PatientID="ZIMMERMANN")) == {0xA900: 6}
        metrics = watch.answer("/metrics")
        assert metrics is not None
        assert b'cmbnet_objects_total{answer="conflict"} 6.0' in metrics[2]
        events = [json.loads(line) for line in log.getvalue().splitlines()]
        alarms = [one for one in events if one.get("event") == "object_conflict"]
        assert [one["level"] for one in alarms] == ["warning"] * 6
        audit = site.node.config.root / AUDIT_FILE
        assert audit.read_text().count("object_conflict") == 6
        assert verify_audit(audit).records >= 6
        assert "ZIMMERMANN" not in log.getvalue() + audit.read_text()
        assert uid_of("a") not in log.getvalue() + audit.read_text()
    finally:
        watch.stop()
    assert len(list(site.node.folders.conflicts.iterdir())) == 6
    assert wait_for(site.node, uid_of("a"), State.COMMITTED).run == 1


def test_a_study_that_is_done_runs_again_when_asked(site: Site) -> None:
    site.open()
    site.send(site.study("a"))
    committed(site, uid_of("a"), 1)
    before = sent(site, uid_of("a"), 1)
    assert site.node.journal.retry(uid_of("a"))
    committed(site, uid_of("a"), 2)
    after = sent(site, uid_of("a"), 2)
    assert after["SR"].SOPInstanceUID != before["SR"].SOPInstanceUID
    assert site.pacs.stored[after["SR"].SOPInstanceUID] == 1
