"""Headers of the source in the form that highdicom takes, and silence about what they hold."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset, FileDataset

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
    """Copies of the headers with every attribute that patient and study modules need.

    Values that the standard does not allow (a birth date of words) become empty: a result must
    not fail to be sent because of them.

    Raises:
        InputRefused: There is no frame of reference, or several enhanced files.
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
    return [_complete(header) for header in source.headers]


@contextmanager
def quiet_highdicom(what: str) -> Iterator[None]:
    """Turn faults of the library into a `CmbnetError`; hold back log lines that quote names."""
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
            f"the headers of the series do not allow to write {what} ({type(error).__name__})"
        ) from error
    finally:
        logger.setLevel(level)


def forget_clock(dataset: Dataset) -> None:
    """Remove the optional times of writing: they alone would make two runs differ."""
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
