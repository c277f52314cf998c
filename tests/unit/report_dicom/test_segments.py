"""A report of any number of lesions refers to their segments and to the images they lie on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from cmbnet.io.dicom import DicomSource, read_dicom_series
from cmbnet.report.dicom import DicomResult, write_dicom_results
from cmbnet.report.dicom.write import DicomPaths
from tests.helpers.dicom_series import SHAPE, write_tiny
from tests.unit.report_dicom.test_objects import (
    dciodvfy,
    lesion,
    lesion_groups,
    needs_dciodvfy,
    read_back,
    result,
)

SLICES = ((2, 3, 4), (3,), (20, 21))
"""Of each lesion, in the order of segments."""


def result_of(count: int) -> DicomResult:
    labels = np.zeros(SHAPE, np.uint16)
    for number in range(count):
        labels[list(SLICES[number]), 4 * number : 4 * number + 2, 5:8] = number + 1
    return result(lesions=tuple(lesion(number + 1) for number in range(count)), labels=labels)


def references(report: Dataset, concept: str) -> list[list[Dataset]]:
    """What the items of that name refer to, by lesion."""
    return [
        [
            item.ReferencedSOPSequence[0]
            for item in group.ContentSequence
            if item.ConceptNameCodeSequence[0].CodeMeaning == concept
        ]
        for group in lesion_groups(report)
    ]


@pytest.fixture(params=[False, True], ids=["classic", "enhanced"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> DicomSource:
    return read_dicom_series(write_tiny(tmp_path / "scan", enhanced=request.param))[1]


def written(count: int, source: DicomSource, folder: Path) -> tuple[DicomPaths, Dataset]:
    paths = write_dicom_results(result_of(count), source, folder)
    assert paths.report is not None
    return paths, pydicom.dcmread(paths.report)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_lesion_names_its_segment_and_its_images(
    source: DicomSource, tmp_path: Path, count: int
) -> None:
    """One lesion is the commonest positive study, and the one that highdicom fails on."""
    paths, report = written(count, source, tmp_path)
    assert paths.segmentation is not None
    np.testing.assert_array_equal(read_back(paths.segmentation, source), result_of(count).labels)
    named = references(report, "Referenced Segment")
    assert [one.ReferencedSegmentNumber for (one,) in named] == list(range(1, count + 1))
    for images, slices in zip(
        references(report, "Source Image for Segmentation"), SLICES, strict=False
    ):
        if source.frame_numbers:
            (image,) = images
            assert image.ReferencedSOPInstanceUID == source.sop_instance_uids[0]
            found = np.atleast_1d(np.asarray(image.ReferencedFrameNumber, int))
            assert found.tolist() == sorted(source.frame_numbers[k] for k in slices)
        else:
            uids = {str(image.ReferencedSOPInstanceUID) for image in images}
            assert uids == {source.sop_instance_uids[k] for k in slices}


@needs_dciodvfy
@pytest.mark.parametrize("slices", [(3,), (2, 3)], ids=["one slice", "two slices"])
def test_dciodvfy_has_nothing_to_say_of_one_lesion(
    source: DicomSource, tmp_path: Path, slices: tuple[int, ...]
) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[list(slices), 5:7, 5:8] = 1
    one = result(lesions=(lesion(1),), labels=labels)
    paths = write_dicom_results(one, source, tmp_path)
    assert [dciodvfy(path) for path in paths.all] == [[], []]
