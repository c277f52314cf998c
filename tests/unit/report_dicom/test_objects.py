"""SEG and SR: right place, right numbers, valid, the same every time."""

from __future__ import annotations

import copy
import datetime
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import InputRefused, UsageError
from cmbnet.io.dicom import DicomSource, read_dicom_series
from cmbnet.lesions import Lesion
from cmbnet.phantom.dicom import Vendor
from cmbnet.regions import Place
from cmbnet.report.dicom import (
    Algorithm,
    DicomResult,
    Quality,
    build_report,
    build_segmentation,
    write_dicom_results,
)
from tests.helpers.dicom_series import SHAPE, edit_all, swi_only, tiny_swi, write_tiny

ALGORITHM = Algorithm("demo", "ab" * 32, ("operating point default",), version="1.2.3")

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (Debian dicom3tools) is not installed"
)


def lesion(number: int, **values: object) -> Lesion:
    fields: dict[str, object] = {
        "id": number,
        "centre_ras_mm": (10.0, -20.0, 30.0),
        "voxel_ijk": (1, 2, 3),
        "volume_mm3": 12.3456789,
        "max_in_plane_diameter_mm": 3.2,
        "equivalent_diameter_mm": 2.86,
        "z_extent_mm": 4.0,
        "slices": 2,
        "elongation": 1.2,
        "size_class": "small",
        "score": 0.91,
        "mean_probability": 0.8,
        "max_probability": 0.99,
        "outside_brain": 0.0,
        "border_distance_mm": 9.0,
        "bbox": ((0, 1), (0, 1), (0, 1)),
    }
    return Lesion(**{**fields, **values})  # type: ignore[arg-type]


FRONTAL = Place("frontal", "left", "lobar", 5.0, 6.0, (-20.0, 40.0, 40.0))


def result(**changes: object) -> DicomResult:
    """Three lesions with ids 3, 7 and 4: segments are numbered by order, not by id."""
    labels = np.zeros(SHAPE, dtype=np.uint16)
    labels[2:4, 5:7, 3:6] = 3
    labels[3, 12, 9] = 7
    labels[20:23, 10:14, 1] = 4
    lesions = (
        lesion(3),
        lesion(7, size_class="large", score=0.7, place=FRONTAL),
        lesion(4, score=0.5),
    )
    fields: dict[str, object] = {
        "lesions": lesions,
        "labels": labels,
        "algorithm": ALGORITHM,
    }
    return DicomResult(**{**fields, **changes})  # type: ignore[arg-type]


CALCIUM = "possible calcification: calcium explains the phase around it"


def calcified(**changes: object) -> DicomResult:
    """The same with a possible calcification of id 9."""
    calcium = lesion(9, removed_by="phase", reason=CALCIUM, phase="diamagnetic")
    labels = result().labels
    labels[10, 3:5, 4:7] = 9
    return result(**{"calcifications": (calcium,), "labels": labels, **changes})


def empty(quality: Quality | None = None) -> DicomResult:
    return result(lesions=(), labels=np.zeros(SHAPE, np.uint8), quality=quality or Quality())


@pytest.fixture
def source(tmp_path: Path) -> DicomSource:
    return read_dicom_series(swi_only(tmp_path / "scan"))[1]


def read_back(path: Path, source: DicomSource) -> np.ndarray:
    """Segment numbers on the grid of the source."""
    grid = hd.Volume(
        array=np.zeros(SHAPE),
        affine=source.affine_lps,
        coordinate_system="PATIENT",
        frame_of_reference_uid=source.frame_of_reference_uid,
    )
    segmentation = hd.seg.segread(path)
    volume = segmentation.get_volume(combine_segments=True, allow_missing_positions=True)
    return np.asarray(volume.match_geometry(grid).array)


def by_segment(labels: np.ndarray) -> np.ndarray:
    segments = np.zeros_like(labels)
    for number, label in enumerate((3, 7, 4), start=1):
        segments[labels == label] = number
    return segments


def dciodvfy(path: Path) -> list[str]:
    """Complaints, but that the private coding scheme is private."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return [
        line
        for line in lines
        if ("Error" in line or "Warning" in line) and "<99CMBNET>" not in line
    ]


# --- place


REVERSED = np.array([[0.0, 0, -0.8, 5], [0, 0.8, 0, 2], [-2.0, 0, 0, 40], [0, 0, 0, 1]])


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("affine", [None, REVERSED], ids=["oblique", "reversed"])
@pytest.mark.parametrize("vendor", [Vendor.SIEMENS, Vendor.PHILIPS])
def test_round_trip_is_exact(
    tmp_path: Path, vendor: Vendor, affine: np.ndarray | None, enhanced: bool
) -> None:
    write_tiny(tmp_path / "s", vendor=vendor, enhanced=enhanced, volume=tiny_swi(affine=affine))
    _, source = read_dicom_series(tmp_path / "s")
    paths = write_dicom_results(result(), source, tmp_path / "out")
    assert paths.segmentation is not None
    np.testing.assert_array_equal(
        read_back(paths.segmentation, source), by_segment(result().labels)
    )


def test_frames_in_reversed_file_order_give_the_same_place(tmp_path: Path) -> None:
    """The files are numbered from head to foot: nothing may be placed by file order."""
    folder = swi_only(tmp_path)
    edit_all(
        folder,
        lambda dataset: setattr(dataset, "InstanceNumber", 25 - int(dataset.InstanceNumber)),
    )
    names = sorted(folder.iterdir())
    for place, path in enumerate(names):
        path.rename(folder / f"R{len(names) - place:06d}")
    _, source = read_dicom_series(folder)
    paths = write_dicom_results(result(), source, tmp_path / "out")
    assert paths.segmentation is not None
    np.testing.assert_array_equal(
        read_back(paths.segmentation, source), by_segment(result().labels)
    )
    # And each frame names the very image it lies on.
    segmentation = pydicom.dcmread(paths.segmentation)
    images = {str(header.SOPInstanceUID): header for header in source.headers}
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(
            np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float),
            np.array(images[uid].ImagePositionPatient, float),
            atol=1e-4,
        )


def test_only_frames_with_lesions_are_stored(source: DicomSource) -> None:
    # Lesion 3 lies in two slices, 7 in one, 4 in three.
    assert build_segmentation(result(), source).NumberOfFrames == 6


# --- content


def groups(report: Dataset) -> list[Dataset]:
    (measurements,) = (
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    )
    return list(measurements.ContentSequence)


def lesion_groups(report: Dataset) -> list[Dataset]:
    """What was measured of each lesion; as many places and the summary follow."""
    found = groups(report)
    return found[: len(found) // 2]


def place_groups(report: Dataset) -> list[Dataset]:
    """Where each lesion is."""
    found = groups(report)
    return found[len(found) // 2 : -1]


def said(group: Dataset) -> dict[str, object]:
    """Name (and method) of each item to its value."""
    found: dict[str, object] = {}
    for item in group.ContentSequence:
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        if item.ValueType == "NUM":
            for child in item.get("ContentSequence") or []:
                if child.ConceptNameCodeSequence[0].CodeMeaning == "Measurement Method":
                    name = child.ConceptCodeSequence[0].CodeMeaning
            found[name] = float(item.MeasuredValueSequence[0].NumericValue)
        elif item.ValueType == "CODE":
            found[name] = item.ConceptCodeSequence[0].CodeMeaning
        elif item.ValueType == "TEXT":
            found.setdefault(name, []).append(item.TextValue)  # type: ignore[attr-defined]
        elif item.ValueType == "UIDREF":
            found[name] = item.UID
        elif item.ValueType == "SCOORD":
            found[name] = (item.GraphicType, *item.GraphicData)
        elif "ReferencedSegmentNumber" in item.ReferencedSOPSequence[0]:
            found[name] = item.ReferencedSOPSequence[0].ReferencedSegmentNumber
    return found


def written(tmp_path: Path, source: DicomSource, content: DicomResult) -> Dataset:
    paths = write_dicom_results(content, source, tmp_path / "out")
    assert paths.report is not None
    return pydicom.dcmread(paths.report)


def test_report_of_lesions(tmp_path: Path, source: DicomSource) -> None:
    report = written(tmp_path, source, result())
    lesions, summary = lesion_groups(report), groups(report)[-1]
    assert len(lesions) == 3
    first, second, _ = map(said, lesions)
    assert first["Sum of segmented voxel method for volume"] == 12.3457
    assert first["Maximum in-plane diameter"] == 3.2
    assert first["Diameter of the sphere of equal volume"] == 2.86
    assert first["Probability"] == 0.91
    # DICOM is LPS: right and anterior change sign.
    assert first["Centre of lesion, X in patient coordinates (LPS)"] == -10.0
    assert first["Centre of lesion, Y in patient coordinates (LPS)"] == 20.0
    assert first["Centre of lesion, Z in patient coordinates (LPS)"] == 30.0
    assert first["Review status"] == "AI candidate, not reviewed"
    assert first["Size class"] == "Small: 2 mm to less than 5 mm"
    assert second["Size class"] == "Large: 5 mm to 10 mm"
    assert second["Finding Site"] == "Frontal"
    assert second["Approximate region"] == "frontal"
    (side,) = (
        item.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning
        for item in lesions[1].ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Finding Site"
    )
    assert side == "Left"
    assert second["Group of the approximate region"] == "lobar"
    assert second["Distance to the next other region"] == 5.0
    assert "Approximate region" not in first
    assert [said(group)["Referenced Segment"] for group in lesions] == [1, 2, 3]
    whole = said(summary)
    assert whole["Number of lesions"] == 3
    assert whole["Band of the count of candidates"] == "2 to 4"
    assert whole["Band of the count by the cut points of ARIA-H"] == "mild (1 to 4)"
    assert whole["Echo time of the source images"] == 20.0
    assert whole["Magnetic field strength of the source images"] == 3.0
    assert whole["Voxel spacing of the source images along SLICE"] == 2.0
    assert f"model sha256 {'ab' * 32}" in whole["Algorithm Parameters"]  # type: ignore[operator]


def test_segment_and_group_mean_the_same_lesion(tmp_path: Path, source: DicomSource) -> None:
    paths = write_dicom_results(result(), source, tmp_path / "out")
    assert paths.segmentation is not None
    assert paths.report is not None
    segments = pydicom.dcmread(paths.segmentation).SegmentSequence
    lesions = lesion_groups(pydicom.dcmread(paths.report))
    for segment, group in zip(segments, lesions, strict=True):
        assert segment.TrackingUID == said(group)["Tracking Unique Identifier"]
        assert [segment.TrackingID] == said(group)["Tracking Identifier"]
    assert [segment.TrackingID for segment in segments] == [
        f"Microbleed candidate {number}" for number in (3, 7, 4)
    ]
    assert [segment.SegmentLabel for segment in segments] == [
        "Candidate 3: 3.2 mm, score 0.91",
        "Candidate 7: 3.2 mm, score 0.70",
        "Candidate 4: 3.2 mm, score 0.50",
    ]


PLACES = {3: (4, 6, 2), 7: (9, 12, 3), 4: (1, 13, 21)}
"""Voxels i, j, k of each lesion of `result`."""


def placed() -> DicomResult:
    """Lesions whose centres lie in them."""
    found = result()
    at = tuple(replace(one, voxel_ijk=PLACES[one.id]) for one in found.lesions)
    return replace(found, lesions=at)


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("seg", [False, True], ids=["SR alone", "with SEG"])
def test_each_lesion_has_a_point_on_its_image(tmp_path: Path, seg: bool, enhanced: bool) -> None:
    """Viewers jump to a point; of a segment they know nothing."""
    _, source = read_dicom_series(write_tiny(tmp_path / "s", enhanced=enhanced))
    paths = write_dicom_results(placed(), source, tmp_path / "out", seg=seg)
    report = pydicom.dcmread(paths.report)  # type: ignore[arg-type]
    for group, place, one in zip(
        lesion_groups(report), place_groups(report), placed().lesions, strict=True
    ):
        i, j, k = PLACES[one.id]
        assert said(place)["Image Region"] == ("POINT", i + 0.5, j + 0.5)
        uid = "Tracking Unique Identifier"
        assert said(place)[uid] == said(group)[uid]
        assert said(place)["Comment"] == [f"Candidate {one.id}: 3.2 mm, score {one.score:.2f}"]
        (region,) = (item for item in place.ContentSequence if item.ValueType == "SCOORD")
        image = region.ContentSequence[0].ReferencedSOPSequence[0]
        if enhanced:
            assert image.ReferencedFrameNumber == source.frame_numbers[k]
        else:
            assert image.ReferencedSOPInstanceUID == source.sop_instance_uids[k]
        assert placed().labels[k, j, i] == one.id


def test_a_report_alone_refers_to_no_segmentation(tmp_path: Path, source: DicomSource) -> None:
    """It would never be found: nobody writes it."""
    paths = write_dicom_results(placed(), source, tmp_path / "out", seg=False)
    assert [path.name for path in paths.all] == ["sr.dcm"]
    assert dciodvfy(paths.all[0]) == []
    report = pydicom.dcmread(paths.all[0])
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [item.SeriesInstanceUID for item in evidence] == [source.series_instance_uid]
    referred = [item for item in report.iterall() if item.keyword == "ReferencedSOPInstanceUID"]
    assert {item.value for item in referred} == set(source.sop_instance_uids)
    measured = said(lesion_groups(report)[0])
    assert measured["Sum of segmented voxel method for volume"] == 12.3457
    assert "Referenced Segment" not in measured


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (result(), "3 microbleed candidates by AI, not reviewed"),
        (empty(), "0 microbleed candidates by AI, not reviewed"),
        (empty(Quality(analysable=False)), "Not analysable: no count was made"),
    ],
)
def test_the_summary_has_a_place_and_begins_with_the_answer(
    tmp_path: Path, source: DicomSource, content: DicomResult, answer: str
) -> None:
    """OHIF opens an empty page where a group of a report has no place."""
    summary = groups(written(tmp_path, source, content))[-1]
    assert said(summary)["Comment"][0] == answer  # type: ignore[index]
    (number,) = (
        item
        for item in summary.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Number of source images"
    )
    assert number.MeasuredValueSequence[0].NumericValue == 24
    (place,) = number.ContentSequence
    assert (place.ValueType, *place.GraphicData) == ("SCOORD", 0, 0, 0, SHAPE[1] / 8)
    image = place.ContentSequence[0].ReferencedSOPSequence[0]
    assert image.ReferencedSOPInstanceUID == source.sop_instance_uids[12]


def test_report_of_no_lesion(tmp_path: Path, source: DicomSource) -> None:
    paths = write_dicom_results(empty(), source, tmp_path / "out")
    assert paths.segmentation is None
    assert not (tmp_path / "out/seg.dcm").exists()
    (summary,) = groups(pydicom.dcmread(tmp_path / "out/sr.dcm"))
    assert said(summary)["Number of lesions"] == 0
    assert said(summary)["Quality Assessment"] == "All algorithms succeeded; without findings"
    with pytest.raises(UsageError, match="at least one lesion"):
        build_segmentation(empty(), source)


def test_report_of_a_scan_that_is_not_analysable(tmp_path: Path, source: DicomSource) -> None:
    quality = Quality(analysable=False, remarks=("no brain was found",))
    (summary,) = groups(written(tmp_path, source, empty(quality)))
    content = said(summary)
    assert "Number of lesions" not in content, "0 would be an answer"
    assert "Band of the count of candidates" not in content
    assert content["Quality Assessment"] == "Insufficient quality for interpretation"
    assert content["Comment"] == [
        "Not analysable: no count was made",
        RESEARCH_USE_ONLY,
        "no brain was found",
    ]
    with pytest.raises(UsageError, match="not analysable has no lesions"):
        result(quality=quality)


def test_both_objects_say_what_they_are(tmp_path: Path, source: DicomSource) -> None:
    paths = write_dicom_results(result(), source, tmp_path / "out")
    assert paths.report is not None
    assert paths.segmentation is not None
    report, segmentation = map(pydicom.dcmread, (paths.report, paths.segmentation))
    for item in (report, segmentation):
        assert "RESEARCH ONLY" in item.SeriesDescription
        assert item.StudyInstanceUID == source.study_instance_uid
        assert item.PatientID == "PHANTOM-0"
    assert segmentation.ContentDescription == RESEARCH_USE_ONLY
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert report.CompletionFlag == "COMPLETE"
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert {item.SeriesInstanceUID for item in evidence} == {
        source.series_instance_uid,
        segmentation.SeriesInstanceUID,
    }


# --- validity and repetition


@needs_dciodvfy
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_dciodvfy_has_nothing_to_say(tmp_path: Path, enhanced: bool) -> None:
    _, source = read_dicom_series(write_tiny(tmp_path / "s", enhanced=enhanced))
    unfit = empty(Quality(analysable=False, remarks=("no brain",)))
    for number, content in enumerate(
        (result(), empty(), unfit, calcified(), calcified(lesions=()))
    ):
        out = tmp_path / f"out{number}"
        write_dicom_results(content, source, out)
        for path in sorted(out.iterdir()):
            assert dciodvfy(path) == []


@needs_dciodvfy
def test_dciodvfy_would_complain(tmp_path: Path, source: DicomSource) -> None:
    paths = write_dicom_results(result(), source, tmp_path / "out")
    assert paths.segmentation is not None
    spoilt = pydicom.dcmread(paths.segmentation)
    del spoilt.SegmentSequence[0].SegmentLabel
    spoilt.save_as(paths.segmentation)
    assert any("SegmentLabel" in line for line in dciodvfy(paths.segmentation))


@needs_dciodvfy
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
@pytest.mark.parametrize("vendor", Vendor)
def test_phantom_series_are_valid(tmp_path: Path, vendor: Vendor, enhanced: bool) -> None:
    """No errors; vendors' own ImageType words and rescaling are what it warns of."""
    write_tiny(tmp_path, vendor=vendor, enhanced=enhanced)
    for folder in sorted(tmp_path.iterdir()):
        complaints = dciodvfy(folder / "IM000001")
        assert [line for line in complaints if line.startswith("Error")] == []


def test_a_second_run_writes_the_same_bytes(tmp_path: Path, source: DicomSource) -> None:
    for folder in ("a", "b"):
        write_dicom_results(result(), source, tmp_path / folder)
    for name in ("sr.dcm", "seg.dcm"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_other_settings_give_other_uids(tmp_path: Path, source: DicomSource) -> None:
    first = build_segmentation(result(), source)
    for algorithm in (
        Algorithm("demo", "cd" * 32, ALGORITHM.parameters, version="1.2.3"),
        Algorithm("demo", "ab" * 32, ("operating point sensitive",), version="1.2.3"),
        Algorithm("demo", "ab" * 32, ALGORITHM.parameters, version="1.2.4"),
    ):
        other = build_segmentation(result(algorithm=algorithm), source)
        assert other.SOPInstanceUID != first.SOPInstanceUID
        assert other.SeriesInstanceUID != first.SeriesInstanceUID
    fewer = read_dicom_series(write_tiny(tmp_path / "other"), series="2")[1]
    assert build_segmentation(result(), fewer).SOPInstanceUID != first.SOPInstanceUID


def other_patient(source: DicomSource) -> DicomSource:
    headers = tuple(copy.deepcopy(header) for header in source.headers)
    for header in headers:
        header.PatientID = "CORRECTED"
    return replace(source, headers=headers)


MASKED = Algorithm("demo", "ab" * 32, (*ALGORITHM.parameters, "brain mask sha256 ef"), "1.2.3")
REMARK = Quality(remarks=("thick slices",))


@pytest.mark.parametrize(
    "other",
    [
        lambda source: (empty(), source),
        lambda source: (empty(Quality(analysable=False)), source),
        lambda source: (result(quality=REMARK), source),
        lambda source: (result(algorithm=MASKED), source),
        lambda source: (
            result(lesions=(*result().lesions[:2], lesion(4, score=0.5, place=FRONTAL))),
            source,
        ),
        lambda source: (result(labels=np.roll(result().labels, 1, axis=1)), source),
        lambda source: (result(lesions=(*result().lesions[:2], lesion(4, score=0.6))), source),
        lambda source: (result(), other_patient(source)),
    ],
    ids=["no-lesion", "refused", "remark", "mask", "regions", "outline", "score", "patient"],
)
def test_no_two_contents_bear_one_uid(
    tmp_path: Path,
    source: DicomSource,
    other: Callable[[DicomSource], tuple[DicomResult, DicomSource]],
) -> None:
    """A PACS would keep the first: a refusal where there is an answer now."""
    told = datetime.datetime(2027, 3, 4, 5, 6, 7)
    write_dicom_results(result(), source, tmp_path / "a", created=told)
    write_dicom_results(*other(source), tmp_path / "b", created=told)
    for path in (tmp_path / "b").iterdir():
        one, another = (pydicom.dcmread(tmp_path / run / path.name) for run in "ab")
        same = path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
        assert (one.SOPInstanceUID == another.SOPInstanceUID) == same, path.name
        assert (one.SeriesInstanceUID == another.SeriesInstanceUID) == same, path.name
    assert (tmp_path / "a" / "sr.dcm").read_bytes() != (tmp_path / "b" / "sr.dcm").read_bytes()


def test_content_time_is_that_of_the_images_or_as_told(source: DicomSource) -> None:
    told = datetime.datetime(2027, 3, 4, 5, 6, 7)
    for created, expected in ((None, ("20260101", "120000")), (told, ("20270304", "050607"))):
        segmentation = build_segmentation(result(), source, created=created)
        report = build_report(result(), source, segmentation, created=created)
        for item in (segmentation, report):
            assert str(item.ContentDate) == expected[0]
            assert str(item.ContentTime).startswith(expected[1])


# --- what may not fit


def test_labels_must_fit(source: DicomSource) -> None:
    moved = np.zeros((24, 16, 20), np.uint8)
    moved[3, 3, 3:6] = (3, 7, 4)
    with pytest.raises(UsageError, match=r"labels of shape \(24, 20, 16\) are required"):
        build_segmentation(result(labels=moved), source)
    labels = result().labels.copy()
    labels[labels == 4] = 0
    with pytest.raises(UsageError, match=r"\{4\} have none"):
        result(labels=labels)


def test_without_frame_of_reference_nothing_is_placed(tmp_path: Path) -> None:
    folder = swi_only(tmp_path)

    def strip(dataset: FileDataset) -> None:
        del dataset.FrameOfReferenceUID

    edit_all(folder, strip)
    _, source = read_dicom_series(folder)
    with pytest.raises(InputRefused, match="a frame of reference is required"):
        write_dicom_results(result(), source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_dciodvfy
def test_odd_patients_do_not_stop_a_result(tmp_path: Path) -> None:
    """Headers of real archives: a Japanese name, a sex of its own, a birth date in words."""
    folder = swi_only(tmp_path)

    def oddity(dataset: FileDataset) -> None:
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        dataset.PatientName = "Yamada^Tarou=山田^太郎"
        with pydicom.config.disable_value_validation():
            dataset.PatientBirthDate = "unknown"
            dataset.PatientSex = "X"
            dataset.StudyTime = "late"
        del dataset.StudyID

    with pydicom.config.disable_value_validation():
        edit_all(folder, oddity)
    _, source = read_dicom_series(folder)
    paths = write_dicom_results(result(), source, tmp_path / "out")
    for path in (paths.report, paths.segmentation):
        assert path is not None
        item = pydicom.dcmread(path)
        assert item.SpecificCharacterSet == "ISO_IR 192"
        assert str(item.PatientName) == "Yamada^Tarou=山田^太郎"
        assert (item.PatientBirthDate, item.PatientSex, item.StudyID) == ("", "", "")
        assert [line for line in dciodvfy(path) if line.startswith("Error")] == []


def test_messages_do_not_quote_the_patient(
    tmp_path: Path, source: DicomSource, caplog: pytest.LogCaptureFixture
) -> None:
    for header in source.headers:
        header.PatientName = "a name that is no name 19470213"
        del header.Rows
    with pytest.raises((InputRefused, UsageError)) as caught:
        write_dicom_results(result(), source, tmp_path / "out")
    assert "19470213" not in str(caught.value) + caplog.text


def test_sixty_lesions(source: DicomSource) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    for number in range(1, 61):
        labels[number % 24, number // 4, number % 16] = number
    many = result(lesions=tuple(lesion(n) for n in range(1, 61)), labels=labels)
    segmentation = build_segmentation(many, source)
    assert len(segmentation.SegmentSequence) == 60
    assert len(lesion_groups(build_report(many, source, segmentation))) == 60


def test_a_possible_calcification_is_coded_and_not_counted(source: DicomSource) -> None:
    report = build_report(calcified(), source)
    words: list[str] = []
    report.walk(lambda _, element: words.append(str(element.value)))
    text = "\n".join(words)
    assert words.count("Pathologic calcification") == 2  # its measurements and its place
    assert f"Possible calcification 9: 3.2 mm, score 0.91, {CALCIUM}" in text
    assert "3 microbleed candidates by AI, not reviewed; 1 possible calcification by phase" in text


def test_a_calcification_without_an_outline_is_in_the_report_alone(
    tmp_path: Path, source: DicomSource
) -> None:
    """That of a finished case, which keeps outlines of lesions only."""
    found = calcified(labels=result().labels, outlined=False)
    paths = write_dicom_results(found, source, tmp_path)
    assert paths.segmentation is not None
    assert len(pydicom.dcmread(paths.segmentation).SegmentSequence) == 3
    assert len(lesion_groups(pydicom.dcmread(paths.report or tmp_path))) == 4


@pytest.mark.parametrize("lesions", [3, 0])
def test_a_possible_calcification_has_a_segment_after_the_lesions(
    tmp_path: Path, source: DicomSource, lesions: int
) -> None:
    found = calcified(lesions=result().lesions[:lesions])
    paths = write_dicom_results(found, source, tmp_path)
    assert paths.segmentation is not None
    *others, segment = pydicom.dcmread(paths.segmentation).SegmentSequence
    types = [one.SegmentedPropertyTypeCodeSequence[0].CodeValue for one in others]
    assert types == ["723857007"] * lesions
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "18115005"
    assert segment.SegmentLabel == "Possible calcification 9: 3.2 mm, score 0.91"
    expected = by_segment(found.labels) if lesions else np.zeros(SHAPE)
    expected[found.labels == 9] = lesions + 1
    np.testing.assert_array_equal(read_back(paths.segmentation, source), expected)
