"""The report for a study without an answer, so that the failure is seen in the PACS.

It reads as little as possible, because this study may have killed the worker.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset, FileDataset

from cmbnet.edge.worker import Job
from cmbnet.errors import CmbnetError, InputRefused
from cmbnet.io.dicom import DicomSource, ImageKind, SeriesVerdict
from cmbnet.io.dicom.dataset import DicomFile, read_header
from cmbnet.io.dicom.frames import readable_attributes

if TYPE_CHECKING:
    from cmbnet.bundle import Bundle

_SWI = re.compile(r"swi|swan|fsbb|ven.?bold", re.IGNORECASE)


def write_failure(job: Job, reason: str, *, bundle: Bundle, series: str = "") -> Path:
    """Write ``sr.dcm``: not analysable, and why.

    `reason` is a sentence that names no patient. `series` is reported on; without it, one that is
    called SWI, else the longest. Return the file.

    Raises:
        InputRefused: If no header can be read, or no header allows a report.
    """
    from cmbnet.report.dicom import Algorithm, DicomResult, Quality, write_dicom_results

    headers = _series_of(_headers(job.images), series)
    result = DicomResult(
        lesions=(),
        labels=np.zeros((1, 1, 1), np.uint8),
        # Other parameters than of a count: the UIDs differ from those of a later success.
        algorithm=Algorithm(bundle.manifest.name, bundle.sha256, ("no answer", reason[:64])),
        quality=Quality(False, (f"not analysable: {reason}",)),
        previous=job.previous,
    )
    paths = write_dicom_results(result, _source(headers), job.out, seg=False)
    if paths.report is None:
        raise InputRefused("no report was written")
    return paths.report


def _headers(images: Path) -> list[FileDataset]:
    found = []
    for path in sorted(images.iterdir()):
        try:
            found.append(read_header(DicomFile(path, path.name)))
        except CmbnetError:
            continue
    return found


def _series_of(headers: list[FileDataset], series: str) -> list[FileDataset]:
    by_uid: dict[str, list[FileDataset]] = defaultdict(list)
    for header in headers:
        by_uid[str(header.get("SeriesInstanceUID", ""))].append(header)
    if not by_uid:
        raise InputRefused("a readable header is required for a report, there is none")
    if series in by_uid:
        return by_uid[series]

    def rank(members: list[FileDataset]) -> tuple[bool, int]:
        return bool(_SWI.search(str(members[0].get("SeriesDescription", "")))), len(members)

    return max(by_uid.values(), key=rank)


def _source(headers: list[FileDataset]) -> DicomSource:
    attributes = readable_attributes(headers[0])
    verdict = SeriesVerdict(
        key=str(attributes.get("SeriesNumber", "")),
        series_instance_uid=str(attributes.get("SeriesInstanceUID", "")),
        description="",
        kind=ImageKind.UNKNOWN,
        images=len(headers),
        shape=None,
        spacing_mm=None,
        score=0,
        points=(),
        objections=(),
        notes=(),
    )
    unique: dict[str, Dataset] = {str(one.get("SOPInstanceUID", "")): one for one in headers}
    return DicomSource(
        headers=tuple(unique.values()),
        frame_numbers=(),
        affine_lps=np.full((4, 4), np.nan),
        verdict=verdict,
        echo_ms=None,
        field_t=None,
        attributes=attributes,
        sop_instance_uids=tuple(unique),
    )
