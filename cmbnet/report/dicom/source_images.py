"""Headers of the source for highdicom, without leaking their content into messages."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.valuerep import DS

from cmbnet.errors import CmbnetError, InputRefused
from cmbnet.io.dicom import DicomSource
from cmbnet.io.dicom.dataset import quiet_pydicom

_TYPE_2 = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def source_images(source: DicomSource) -> list[FileDataset]:
    """Copy the headers with every attribute that patient and study modules need.

    Values that the standard does not allow (a birth date of words) become empty, so that they do
    not stop the delivery of a result.

    Raises:
        InputRefused: If there is no frame of reference, or there are several enhanced files.
    """
    if not source.frame_of_reference_uid:
        raise InputRefused(
            "a frame of reference is required to place a segmentation, "
            f"series {source.verdict.key} states none"
        )
    if source.frame_numbers and len(source.headers) > 1:
        raise InputRefused(
            f"one enhanced file is required for SEG and SR, got {len(source.headers)}"
        )
    images = [_complete(header) for header in source.headers]
    spacing_mm = np.linalg.norm(source.affine_lps[:3, :3], axis=0)
    if np.isfinite(spacing_mm).all():  # not of images that are no volume
        for image in images:
            _state_thickness(image, spacing_mm)
    return images


def as_one_series(images: list[FileDataset]) -> list[FileDataset]:
    """Return the copies under one series UID, as highdicom requires for a segmentation.

    Images of one scan may have several series UIDs. `name_true_series` restores them in the object.
    """
    for image in images[1:]:
        # A new element: the copies share theirs with the headers.
        image.add_new("SeriesInstanceUID", "UI", images[0].SeriesInstanceUID)
    return images


def name_true_series(segmentation: Dataset, source: DicomSource) -> None:
    """Restore the series of every referenced source image, as its header names it."""
    series = {header.SOPInstanceUID: header.SeriesInstanceUID for header in source.headers}
    if len(set(series.values())) == 1:
        return
    (referenced,) = segmentation.ReferencedSeriesSequence
    items: dict[str, Dataset] = {}
    for instance in referenced.ReferencedInstanceSequence:
        uid = series[instance.ReferencedSOPInstanceUID]
        if uid not in items:
            items[uid] = Dataset()
            items[uid].SeriesInstanceUID = uid
            items[uid].ReferencedInstanceSequence = Sequence()
        items[uid].ReferencedInstanceSequence.append(instance)
    segmentation.ReferencedSeriesSequence = Sequence(items.values())


@contextmanager
def quiet_highdicom(what: str) -> Iterator[None]:
    """Turn faults of the library into a `CmbnetError`, and hold back log lines that quote names."""
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with quiet_pydicom():
            yield
    except CmbnetError:
        raise
    # Source headers come from any scanner; highdicom raises what its checks raise.
    except Exception as error:
        raise InputRefused(
            f"the headers of the series do not allow to write {what} ({_fault(error)})"
        ) from error
    finally:
        logger.setLevel(level)


def _fault(error: Exception) -> str:
    """Return the kind of a fault and the missing attribute. Its own text may quote a name."""
    absent = error.name if isinstance(error, AttributeError) else None
    if absent and tag_for_keyword(absent) is not None:
        return f"{absent} is absent"
    return type(error).__name__


def forget_clock(dataset: Dataset) -> None:
    """Remove the optional times of writing, which would make two runs differ."""
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in dataset:
            delattr(dataset, keyword)
    for item in dataset.get("ContributingEquipmentSequence") or []:
        if "ContributionDateTime" in item:
            del item.ContributionDateTime


def _complete(header: Dataset) -> FileDataset:
    # FileDataset, because highdicom wants to see a transfer syntax.
    copy = FileDataset("", {}, file_meta=getattr(header, "file_meta", None))
    copy.update(header)
    for keyword in _TYPE_2:
        setattr(copy, keyword, _valid(keyword, header.get(keyword)))
    return copy


def _state_thickness(image: Dataset, spacing_mm: NDArray[np.float64]) -> None:
    """Complete the measures of a pixel, from which those of a segmentation are copied.

    If images do not state the thickness of slices, their distance is used.
    """
    between, *plane = (DS(side, auto_format=True) for side in spacing_mm)
    if not image.get("SharedFunctionalGroupsSequence"):
        if image.get("SliceThickness") is None:
            image.add_new("SliceThickness", "DS", between)
        return
    # New elements, down to the one that is changed: copies share theirs with the headers.
    shared, measures = Dataset(), Dataset()
    shared.update(image.SharedFunctionalGroupsSequence[0])
    measures.update((shared.get("PixelMeasuresSequence") or [Dataset()])[0])
    for keyword, value in (("SliceThickness", between), ("PixelSpacing", plane)):
        if measures.get(keyword) is None:
            measures.add_new(keyword, "DS", value)
    shared.add_new("PixelMeasuresSequence", "SQ", Sequence([measures]))
    image.add_new("SharedFunctionalGroupsSequence", "SQ", Sequence([shared]))


def _valid(keyword: str, value: Any) -> Any:
    if value is None:
        return ""
    if keyword == "PatientSex":
        return value if value in ("M", "F", "O") else ""
    if keyword.endswith("Date"):
        try:
            datetime.datetime.strptime(str(value), "%Y%m%d")
        except ValueError:
            return ""
    if keyword.endswith("Time"):
        digits = str(value).split(".", maxsplit=1)[0]
        return digits if digits.isdigit() and len(digits) in (2, 4, 6) else ""
    return value
