"""The report of a study without an answer: in the study, naming the one that it supersedes."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from cmbnet.bundle import load_bundle
from cmbnet.edge.failed import write_failure
from cmbnet.edge.worker import Job
from cmbnet.errors import InputRefused
from tests.helpers.dicom_series import swi_only


def test_late_images_make_a_report_that_names_the_first(tmp_path: Path) -> None:
    images, bundle = swi_only(tmp_path), load_bundle("default")
    late = sorted(images.iterdir())[10].rename(tmp_path / "late")
    first = write_failure(Job(images, tmp_path / "1"), "slice 11 is absent", bundle=bundle)
    late.rename(images / "late")
    before = pydicom.dcmread(first)
    job = Job(images, tmp_path / "2", previous=before)
    after = pydicom.dcmread(write_failure(job, "a fault", bundle=bundle))
    assert before.SOPInstanceUID != after.SOPInstanceUID
    assert before.StudyInstanceUID == after.StudyInstanceUID
    assert "PredecessorDocumentsSequence" not in before
    (predecessor,) = after.PredecessorDocumentsSequence
    named = predecessor.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert b"slice 11 is absent" in first.read_bytes()


def test_the_same_failure_gives_the_same_bytes(tmp_path: Path) -> None:
    images, bundle = swi_only(tmp_path), load_bundle("default")
    twice = [
        write_failure(Job(images, tmp_path / run), "a fault", bundle=bundle).read_bytes()
        for run in ("1", "2")
    ]
    assert twice[0] == twice[1]


def test_without_a_readable_header_there_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "000001.dcm").write_bytes(b"no DICOM")
    with pytest.raises(InputRefused, match="readable header"):
        write_failure(
            Job(tmp_path / "images", tmp_path / "out"), "a fault", bundle=load_bundle("default")
        )
