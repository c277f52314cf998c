"""SEG and SR of reviewed cases, VERIFIED in the name of the reader."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cmbnet import __version__
from cmbnet.errors import InputRefused, UsageError
from cmbnet.io import read_nifti
from cmbnet.lesions import Component, Lesion, measure_components, size_class
from cmbnet.lesions.measure import axial_axis
from cmbnet.report.dicom import Algorithm, DicomResult, Quality, Verification, write_dicom_results
from cmbnet.report.write import LESIONS
from cmbnet.review.cohort import Cohort, OpenCase
from cmbnet.review.outputs import read_review
from cmbnet.review.verdicts import CaseReview, Verdict


def write_verified(
    cohort: Cohort, folder: Path, observer: str, organization: str
) -> Iterator[Path]:
    """Write ``seg.dcm`` and ``sr.dcm`` of the finished cases of a reader, and yield their paths.

    They hold the accepted lesions. They stand beside the masks of the case.

    Args:
        cohort: The results that were reviewed.
        folder: Folder of the reader.
        observer: Name of the reader as DICOM writes it, such as ``Family^Given``.
        organization: Where the reader works.

    Raises:
        UsageError: If the name or the organization is missing.
        UnreadableFile: If the reader has no ``verdicts.json``, or it is damaged.
        InputRefused: If a case is no DICOM scan, or was reviewed on another result.
    """
    if not all(part.strip() for part in observer.partition("^")[::2]) or not organization.strip():
        raise UsageError(
            f"a name such as Family^Given and an organization are required, got {observer!r} and "
            f"{organization!r}",
            argument="verify",
        )
    review = read_review(folder)
    known = {case.name: case for case in cohort.cases}
    for case in review.cases:
        if case.case not in known:
            raise InputRefused(f"the result of case {case.case} is required, got none")
        opened = cohort.open(known[case.case])
        request = opened.result.request
        made_of = request.input_sha256, request.bundle_sha256
        if (case.input_sha256, case.bundle_sha256) != made_of:
            raise InputRefused(f"case {case.case} was reviewed on another result than this one")
        if opened.source is None:
            raise InputRefused(f"a DICOM scan is required for SEG and SR, case {case.case} is none")
        result = _result(case, opened, folder / case.case, observer, organization)
        yield from write_dicom_results(
            result, opened.source, folder / case.case,
            created=datetime.datetime.fromisoformat(case.finished),
        ).all  # fmt: skip


def _result(
    case: CaseReview, opened: OpenCase, folder: Path, observer: str, organization: str
) -> DicomResult:
    labels = read_nifti(folder / LESIONS).data.astype(np.uint16)
    measured = {one.label: one for one in measure_components(labels, opened.volume.affine)}
    accepted = [one for one in case.verdicts if one.label in measured]
    lesions = tuple(_lesion(one, measured[one.label], opened) for one in accepted)
    model, quality = opened.result.model, opened.result.quality
    possible = sum(one.certainty == "possible" for one in accepted)
    remarks = [one.message for one in quality.findings if one.severity != "info"]
    return DicomResult(
        lesions=lesions,
        labels=labels,
        algorithm=Algorithm(
            model.bundle,
            case.bundle_sha256,
            (f"operating point {model.operating_point}", f"reviewed {case.finished}"),
            __version__,
        ),
        quality=Quality(remarks=(*([f"{possible} only possible"] if possible else []), *remarks)),
        verification=Verification(
            observer,
            organization,
            datetime.datetime.fromisoformat(case.finished),
            frozenset(one.label for one in accepted if one.outline != "model"),
        ),
    )


def _lesion(verdict: Verdict, component: Component, opened: OpenCase) -> Lesion:
    """Return an accepted lesion with the measures of its corrected outline."""
    known = next((one for one in opened.result.lesions if one.id == verdict.label), None)
    if known is not None and verdict.outline == "model":
        return known
    axis = axial_axis(opened.volume.affine)
    size = component.max_in_plane_diameter_mm
    return Lesion(
        id=verdict.label,
        centre_ras_mm=component.centroid_ras_mm,
        voxel_ijk=verdict.voxel_ijk,
        volume_mm3=component.volume_mm3,
        max_in_plane_diameter_mm=size,
        equivalent_diameter_mm=component.equivalent_diameter_mm,
        z_extent_mm=component.z_extent_mm,
        slices=component.bbox[axis][1] - component.bbox[axis][0],
        elongation=component.elongation,
        size_class=size_class(size, opened.result.model.rules),
        score=float("nan") if known is None else known.score,
        mean_probability=float("nan") if known is None else known.mean_probability,
        max_probability=float("nan") if known is None else known.max_probability,
        outside_brain=None,
        border_distance_mm=None,
        bbox=component.bbox,
        place=None if known is None else known.place,
    )
