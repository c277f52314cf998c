"""SEG and SR are VERIFIED only in the name of a reader."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.cli.cases import collect_cases
from cmbnet.errors import InputRefused, UsageError
from cmbnet.io import read_nifti
from cmbnet.io.case import Case
from cmbnet.phantom.dicom import Vendor, write_dicom_series
from cmbnet.predict import predict_file
from cmbnet.report import write_prediction
from cmbnet.review import ReviewLog, Session, open_cohort
from cmbnet.review.verify import write_verified
from tests.helpers.review_results import MISSED, write_results
from tests.helpers.tiny_scan import tiny_scan
from tests.unit.report_dicom.test_objects import dciodvfy, needs_dciodvfy

from .test_session import Reader


@pytest.fixture(scope="module")
def reviewed(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, tiny_backend: Backend
) -> Path:
    """A DICOM scan: lesion 1 accepted, 2 a vein, 3 painted, a missed one added."""
    folder = tmp_path_factory.mktemp("dicom")
    scan = tiny_scan()
    z, y, x = MISSED
    scan.data[z : z + 2, y : y + 4, x : x + 4] = 330
    write_dicom_series(scan, folder / "scan", vendor=Vendor.SIEMENS)
    prediction = predict_file(folder / "scan", tiny_bundle, tiny_backend)
    write_prediction(prediction, folder / "results" / "one")
    with ReviewLog(folder / "results" / "reviews" / "Ann") as log:
        cohort = open_cohort(folder / "results", cases_of(folder / "scan"))
        reader = Reader(Session(cohort, log, "Ann", blind=False))
        reader.do("judge", mark="1", judgement="accept")
        reader.do("judge", mark="2", judgement="reject", kind="vein")
        reader.do("judge", mark="3", judgement="accept")
        reader.do("paint", mark="3", voxels=reader.mark("3")["voxels"][:-4])
        reader.do("add", at=reader.missed())
        reader.do("certainty", mark="r1", certainty="possible")
        reader.do("finish")
    return folder


def cases_of(path: Path) -> list[Case]:
    return list(collect_cases((str(path),), say=print))


@needs_dciodvfy
def test_the_objects_are_verified_in_the_name_of_the_reader(reviewed: Path) -> None:
    cohort = open_cohort(reviewed / "results", cases_of(reviewed / "scan"))
    folder = reviewed / "results" / "reviews" / "Ann"
    paths = list(write_verified(cohort, folder, "Smith^Ann", "Test Hospital"))
    assert [path.name for path in paths] == ["seg.dcm", "sr.dcm"]
    assert [dciodvfy(path) for path in paths] == [[], []]
    segmentation, report = (pydicom.dcmread(path) for path in paths)
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("VERIFIED", "FINAL")
    (observer,) = report.VerifyingObserverSequence
    assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == (
        "Smith^Ann", "Test Hospital",
    )  # fmt: skip
    words = report.to_json()
    assert "3 microbleeds, accepted by a reader" in words
    assert "not reviewed" not in words
    assert "1 only possible" in words
    assert "RESEARCH USE ONLY" in words.upper()
    assert segmentation.ContentCreatorName == "Smith^Ann"
    kinds = [one.SegmentAlgorithmType for one in segmentation.SegmentSequence]
    assert kinds == ["AUTOMATIC", "SEMIAUTOMATIC", "SEMIAUTOMATIC"]
    volume = hd.seg.segread(paths[0]).get_volume(combine_segments=True)
    labels = read_nifti(folder / "one" / "lesions.nii.gz").data
    assert (np.asarray(volume.array) != 0).sum() == (labels != 0).sum()


def test_a_case_that_is_opened_again_loses_its_objects(reviewed: Path) -> None:
    folder = reviewed / "results" / "reviews" / "Ann"
    cohort = open_cohort(reviewed / "results", cases_of(reviewed / "scan"))
    assert list(write_verified(cohort, folder, "Smith^Ann", "Test Hospital"))
    with ReviewLog(folder) as log:
        reader = Reader(Session(cohort, log, "Ann", blind=False))
        reader.do("undo")
        assert not list(folder.glob("one/*.dcm"))
        reader.do("finish")


@pytest.mark.parametrize(
    ("name", "organization"), [("Ann Smith", "H"), ("^Ann", "H"), ("A^B", " ")]
)
def test_a_name_and_an_organization_are_required(
    reviewed: Path, name: str, organization: str
) -> None:
    cohort = open_cohort(reviewed / "results", cases_of(reviewed / "scan"))
    with pytest.raises(UsageError, match=r"a name such as Family\^Given and an organization"):
        list(write_verified(cohort, reviewed / "results/reviews/Ann", name, organization))


def test_a_nifti_has_no_objects(tmp_path: Path, tiny_bundle: Bundle, tiny_backend: Backend) -> None:
    results = write_results(tmp_path, tiny_bundle, tiny_backend, ((),))
    with ReviewLog(results / "reviews" / "Ann") as log:
        reader = Reader(Session(open_cohort(results), log, "Ann", blind=False))
        reader.do("finish")
    with pytest.raises(InputRefused, match="a DICOM scan is required for SEG and SR"):
        list(write_verified(open_cohort(results), results / "reviews" / "Ann", "A^B", "H"))
