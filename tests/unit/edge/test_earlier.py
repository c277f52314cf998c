"""Which earlier study a node compares with, and what the objects then say."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest

from cmbnet.bundle import Bundle
from cmbnet.edge.config import WorkerSettings
from cmbnet.edge.contents import read_values
from cmbnet.edge.earlier import EarlierStudies
from cmbnet.edge.folders import Folders
from cmbnet.edge.identify import ObjectReader
from cmbnet.edge.journal import Journal
from cmbnet.edge.process import StudyProcessor
from cmbnet.edge.pseudonyms import Pseudonyms
from cmbnet.edge.records import Finished, Outcome
from cmbnet.edge.spool import Spool
from cmbnet.edge.worker import Earlier, Job
from cmbnet.phantom.dicom import ScanHeader, Vendor, write_dicom_series
from tests.helpers.dicom_series import edit
from tests.helpers.edge_peers import study_files
from tests.helpers.edge_processor import uid_of
from tests.helpers.tiny_scan import DOTS, tiny_scan


class HereReader(ObjectReader):
    """Reads headers in this process."""

    def values(self, path: Path, keywords: tuple[str, ...]) -> dict[str, str]:
        return read_values(path, keywords)


class Archive:
    """Studies that a node has analysed."""

    def __init__(self, root: Path) -> None:
        folders = Folders(root)
        folders.make()
        self.journal = Journal(folders.journal)
        self.spool = Spool(folders, 0)
        names = Pseudonyms(b"0" * 32)
        self.find = EarlierStudies(folders, self.journal, self.spool, HereReader(), names)

    def add(self, name: str, patient: str, date: str, outcome: Outcome = "done") -> str:
        """Analyse a study, and return its UID."""
        uid = uid_of(name)
        folder = self.spool.folders.spool / uid
        for file in study_files(folder, name, slices=2):
            dataset = pydicom.dcmread(file)
            dataset.PatientID, dataset.StudyDate = patient, date
            dataset.save_as(file)
        images = self.spool.snapshot(uid)
        self.journal.received(uid, "SCANNER")
        self.journal.mark_ready(uid)
        self.journal.take()
        known = self.find.patient(uid, images)
        finished = Finished(outcome, images.digest, 2, reason="", patient=known)
        self.journal.finish(uid, finished, [])
        return uid

    def first(self, uid: str) -> str | None:
        found = self.find.first(uid, self.spool.snapshot(uid))
        return None if found is None else found.study


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    opened = Archive(tmp_path / "node")
    yield opened
    opened.journal.close()


def test_the_first_study_of_the_patient_counts(archive: Archive) -> None:
    second = archive.add("second", "one", "20250101")
    first = archive.add("first", "one", "20240101")
    third = archive.add("third", "one", "20260101")
    other = archive.add("other", "two", "20270101")
    assert [archive.first(uid) for uid in (first, second, third, other)] == [
        None, first, first, None
    ]  # fmt: skip
    images = archive.find.first(third, archive.spool.snapshot(third))
    assert images is not None
    assert len(list(images.images.iterdir())) == 2
    assert images.result == archive.spool.folders.results / first / "1"
    archive.spool.unlink()
    assert not images.images.exists()


@pytest.mark.parametrize(
    ("patient", "date", "outcome"),
    [
        ("one", "20260101", "done"),  # of the same day
        ("one", "", "done"),
        ("one", "20240101", "refused"),
        ("", "20240101", "done"),
    ],
)
def test_what_is_no_earlier_study(
    archive: Archive, patient: str, date: str, outcome: Outcome
) -> None:
    archive.add("before", patient, date, outcome)
    assert archive.first(archive.add("now", patient, "20260101")) is None


def test_a_study_with_later_images_has_no_result_of_them(archive: Archive) -> None:
    before, now = archive.add("before", "one", "20240101"), archive.add("now", "one", "20260101")
    assert archive.first(now) == before
    study_files(archive.spool.folders.spool / before, "before", slices=1, first=5)
    assert archive.first(now) is None


Analyse = Callable[..., str]


@pytest.fixture
def analyse(tiny_bundle: Bundle, tmp_path: Path) -> Analyse:
    settings = WorkerSettings(
        bundle=str(tiny_bundle.path), backend="litert:float32", follow_up=True
    )
    processor = StudyProcessor(settings)

    def analysed(year: int, *, dots: int, earlier: Earlier | None = None) -> str:
        folder = tmp_path / str(year)
        scan = tiny_scan(DOTS[:dots])
        scan = scan.with_data(scan.data * (1 + 0.01 * (year % 10)))
        header = ScanHeader(name=f"SCAN-{year}", date=f"{year}0102")
        write_dicom_series(scan, folder, vendor=Vendor.SIEMENS, scan=header)
        shutil.rmtree(folder / "3")  # the phase
        for file in folder.rglob("IM*"):
            edit(file, lambda dataset: setattr(dataset, "PatientID", "one"))
        answer = processor(Job(folder, tmp_path / f"out-{year}", earlier=earlier))
        assert (answer.outcome, answer.details["lesions"]) == ("done", dots)
        return pydicom.dcmread(tmp_path / f"out-{year}" / "sr.dcm").to_json()

    return analysed


def test_the_report_says_what_is_new(analyse: Analyse, tmp_path: Path) -> None:
    assert "Compared" not in analyse(2024, dots=1)
    earlier = Earlier("1.2.3", tmp_path / "2024", tmp_path / "out-2024")
    said = analyse(2026, dots=3, earlier=earlier)
    assert "2 new, 1 persistent" in said
    assert "ARIA-H by microhaemorrhages: mild" in said


def test_what_cannot_be_compared_costs_no_answer(analyse: Analyse, tmp_path: Path) -> None:
    analyse(2025, dots=2)
    earlier = Earlier("1.2.3", tmp_path / "2025", tmp_path / "out-2025")
    said = analyse(2024, dots=1, earlier=earlier)
    assert "not compared with the scan of study 1.2.3: scans in order of time are required" in said
    (earlier.result / "result.json").write_text("{}")
    said = analyse(2026, dots=1, earlier=earlier)
    assert "not compared with the scan of study 1.2.3: " in said
    assert str(tmp_path) not in said
