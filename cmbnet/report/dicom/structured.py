"""The measurements as a structured report: Comprehensive 3D SR after template TID 1500.

It is always written, also without lesions and for scans that are not analysable.
"""

from __future__ import annotations

import datetime
from itertools import zip_longest
from typing import Any

import highdicom as hd
import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.io.dicom import DicomSource
from cmbnet.lesions import Lesion
from cmbnet.regions import pattern_of
from cmbnet.report.dicom import codes
from cmbnet.report.dicom.content import DicomResult, TimePoint, moment_of
from cmbnet.report.dicom.naming import head_of, name_by_content, uid_for
from cmbnet.report.dicom.references import (
    edge_of,
    point_of,
    reference_as,
    segments_of,
    slices_of,
)
from cmbnet.report.dicom.segmentation import label_of, tracking_of
from cmbnet.report.dicom.source_images import forget_clock, quiet_highdicom, source_images

_LONGEST_REMARK = 1000
_IMAGING_MEASUREMENTS = "126010"


def build_report(
    result: DicomResult,
    source: DicomSource,
    segmentation: hd.seg.Segmentation | None = None,
    *,
    created: datetime.datetime | None = None,
) -> Dataset:
    """Make the report of a result.

    Without a segmentation, the report refers only to images. The default of `created` is the date
    of the images.

    Raises:
        InputRefused: If the series states no frame of reference, or its headers are unusable.
    """
    moment = created or moment_of(source)
    images = source_images(source)
    with quiet_highdicom("a structured report"):
        content = sr.MeasurementReport(
            observation_context=_observer(result, source),
            procedure_reported=codes.MRI_OF_BRAIN,
            imaging_measurements=[_summary(result, source)],
        )
        report = sr.Comprehensive3DSR(
            evidence=[*images, *([] if segmentation is None else [segmentation])],
            content=content,
            sop_instance_uid=uid_for(result, source, "sr"),
            instance_number=1,
            is_complete=True,
            **_verified(result),
            coding_schemes=codes.schemes(compared=result.time_point is not None),
            previous_versions=None if result.previous is None else [result.previous],
            **head_of(result, source, moment, "sr"),
        )
        _insert_lesions(report, result, source, segmentation)
        if result.verification is not None:
            (verified,) = report.VerifyingObserverSequence
            verified.VerificationDateTime = f"{result.verification.at:%Y%m%d%H%M%S%z}"
        forget_clock(report)
        name_by_content([report])
    return report


def _insert_lesions(
    report: sr.Comprehensive3DSR,
    result: DicomResult,
    source: DicomSource,
    segmentation: hd.seg.Segmentation | None,
) -> None:
    """Put the groups of lesions before the summary.

    This comes last, because the constructor of the report copies its content and searches it four
    times. With 60 lesions that is more than half of the time.
    """
    (measurements,) = (
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == _IMAGING_MEASUREMENTS
    )
    segments = [] if segmentation is None else segments_of(segmentation)
    plain: list[Dataset] = [
        *(
            _lesion_group(result, source, lesion, segment)
            for lesion, segment in zip_longest(result.findings, segments)
        ),
        *(_place_group(result, source, lesion) for lesion in result.findings),
        *measurements.ContentSequence,
    ]
    measurements.ContentSequence = Sequence(plain)


def _verified(result: DicomResult) -> dict[str, Any]:
    """Return what highdicom wants to know of the reader who verifies a report."""
    by = result.verification
    if by is None:
        return {"is_final": False, "is_verified": False}
    return {
        "is_final": True,
        "is_verified": True,
        "verifying_observer_name": by.observer,
        "verifying_organization": by.organization,
    }


def _observer(result: DicomResult, source: DicomSource) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid_for(result, source, "observer"),
        name="cmbnet",
        manufacturer_name="cmbnet",
        model_name=result.algorithm.model[:64],
        serial_number=result.algorithm.model_sha256[:16],
    )
    context = sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=device,
    )
    by = result.verification
    person = None
    if by is not None:
        person = sr.ObserverContext(
            observer_type=hd.sr.CodedConcept("121006", "DCM", "Person"),
            observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(
                name=by.observer, organization_name=by.organization
            ),
        )
    return sr.ObservationContext(observer_person_context=person, observer_device_context=context)


def _algorithm(result: DicomResult, *, parameters: bool) -> sr.AlgorithmIdentification:
    """State name and version everywhere, and parameters once, because all lesions share them."""
    algorithm = result.algorithm
    stated = [f"model sha256 {algorithm.model_sha256}", *algorithm.parameters]
    return sr.AlgorithmIdentification(
        name=f"cmbnet {algorithm.model}"[:64],
        version=algorithm.version,
        parameters=stated if parameters else None,
        family=codes.ARTIFICIAL_INTELLIGENCE if parameters else None,
        manufacturer="cmbnet" if parameters else None,
    )


def _lesion_group(
    result: DicomResult, source: DicomSource, lesion: Lesion, segment: sr.ReferencedSegment | None
) -> Dataset:
    """Make the group of measurements of a segment, or else of a slice."""
    place = lesion.place
    evaluations = [
        sr.QualitativeEvaluation(codes.STATUS, _status(result)),
        sr.QualitativeEvaluation(codes.SIZE_CLASS, codes.SIZE_CLASSES[lesion.size_class]),
    ]
    if place is not None and place.margin_mm is not None:
        evaluations += [
            sr.QualitativeEvaluation(codes.REGION, codes.region_code(place)),
            sr.QualitativeEvaluation(codes.REGION_GROUP, codes.group_code(place)),
        ]
    point = result.time_point
    if point is not None and lesion.id in point.changes:
        change = codes.CHANGES[point.changes[lesion.id]]
        evaluations.append(sr.QualitativeEvaluation(codes.CHANGE, change))
    about = _about(result, source, lesion) | {
        "algorithm_id": _algorithm(result, parameters=False),
        "measurements": _lesion_measurements(lesion),
        "qualitative_evaluations": evaluations,
    }
    group: Dataset
    if segment is None:
        image = reference_as(sr.SourceImageForMeasurementGroup, source, lesion.voxel_ijk[2])
        group = sr.MeasurementsAndQualitativeEvaluations(source_images=[image], **about)[0]
    else:
        group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=segment, **about
        )[0]
    return group


def _place_group(result: DicomResult, source: DicomSource, lesion: Lesion) -> Dataset:
    """Make the group with a point on the image. Viewers jump to it, and do not follow a segment.

    It is a separate group after TID 1410, because TID 1411 allows only a segment or a region.
    """
    group: Dataset = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=point_of(lesion, source), **_about(result, source, lesion)
    )[0]
    words = label_of(lesion)
    if lesion.reason:  # why it is no microbleed
        words += f", {lesion.reason}"
    group.ContentSequence.append(_comment(words))
    return group


def _about(result: DicomResult, source: DicomSource, lesion: Lesion) -> dict[str, Any]:
    """Return the tracking identifiers that both groups of a lesion share."""
    uid, name = tracking_of(result, source, lesion)
    return {
        "tracking_identifier": sr.TrackingIdentifier(uid=uid, identifier=name),
        "time_point_context": _time_point(result),
        "finding_category": codes.ABNORMAL_STRUCTURE,
        "finding_type": codes.finding(lesion),
        "finding_sites": [sr.FindingSite(codes.site(lesion.place), codes.side(lesion.place))],
    }


def _time_point(result: DicomResult) -> sr.TimePointContext | None:
    point = result.time_point
    if point is None:
        return None
    return sr.TimePointContext(
        time_point=f"Scan {point.order}",
        time_point_order=point.order,
        subject_time_point_identifier=point.identifier,
    )


def _comment(words: str) -> sr.TextContentItem:
    return sr.TextContentItem(
        name=codes.COMMENT,
        value=words[:_LONGEST_REMARK],
        relationship_type=sr.RelationshipTypeValues.CONTAINS,
    )


def _lesion_measurements(lesion: Lesion) -> list[sr.Measurement]:
    right, anterior, superior = lesion.centre_ras_mm
    centre = (-right, -anterior, superior)
    return [
        # First what viewers show beside a lesion that have place for little.
        _number(
            codes.DIAMETER,
            lesion.max_in_plane_diameter_mm,
            codes.MILLIMETRE,
            method=codes.MAX_IN_PLANE,
        ),
        *(
            []
            if np.isnan(lesion.score)  # a reader has added it
            else [_number(codes.PROBABILITY, lesion.score, codes.NO_UNIT)]
        ),
        _number(codes.VOLUME, lesion.volume_mm3, codes.CUBIC_MILLIMETRE, method=codes.VOXEL_SUM),
        _number(
            codes.DIAMETER,
            lesion.equivalent_diameter_mm,
            codes.MILLIMETRE,
            method=codes.EQUIVALENT_SPHERE,
        ),
        *(
            _number(name, value, codes.MILLIMETRE)
            for name, value in zip(codes.CENTRE, centre, strict=True)
        ),
        *_margin(lesion),
    ]


def _margin(lesion: Lesion) -> list[sr.Measurement]:
    margin = None if lesion.place is None else lesion.place.margin_mm
    return [] if margin is None else [_number(codes.REGION_MARGIN, margin, codes.MILLIMETRE)]


def _number(
    name: sr.CodedConcept,
    value: float,
    unit: sr.CodedConcept,
    *,
    method: sr.CodedConcept | None = None,
    places: list[sr.CoordinatesForMeasurement] | None = None,
) -> sr.Measurement:
    return sr.Measurement(
        name=name,
        # Rounded: more digits than the voxels support, and DS allows 16 characters.
        value=round(float(value), 4),
        unit=unit,
        method=method,
        referenced_coordinates=places,
    )


def _summary(result: DicomResult, source: DicomSource) -> sr.MeasurementsAndQualitativeEvaluations:
    """Make the group that every report has: count, bands, quality and acquisition."""
    middle = slices_of(source) // 2
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=uid_for(result, source, "summary"), identifier="Summary of the scan"
        ),
        finding_type=codes.MICROBLEED,
        finding_category=codes.ABNORMAL_STRUCTURE,
        finding_sites=[sr.FindingSite(codes.BRAIN)],
        time_point_context=_time_point(result),
        algorithm_id=_algorithm(result, parameters=True),
        measurements=_summary_measurements(result, source),
        qualitative_evaluations=_summary_evaluations(result),
        source_images=[reference_as(sr.SourceImageForMeasurementGroup, source, middle)],
    )
    answer = _answer(result)
    compared = () if result.time_point is None else result.time_point.remarks
    for remark in (
        answer, RESEARCH_USE_ONLY, *compared, *result.quality.remarks, *source.verdict.notes,
    ):  # fmt: skip
        group[0].ContentSequence.append(_comment(remark))
    return group


def _status(result: DicomResult) -> sr.CodedConcept:
    return codes.NOT_REVIEWED if result.verification is None else codes.REVIEWED


def _answer(result: DicomResult) -> str:
    if not result.quality.analysable:
        return "Not analysable: no count was made"
    count, calcium = len(result.lesions), len(result.calcifications)
    answer = f"{count} microbleed candidate{'' if count == 1 else 's'} by AI, not reviewed"
    if result.verification is not None:
        answer = f"{count} microbleed{'' if count == 1 else 's'}, accepted by a reader"
    if calcium:
        noun = "calcification" if calcium == 1 else "calcifications"
        answer += f"; {calcium} possible {noun} by phase, not counted"
    return answer


def _summary_measurements(result: DicomResult, source: DicomSource) -> list[sr.Measurement]:
    """Return the measurements of the summary. A scan that is not analysable has no count."""
    spacing = np.linalg.norm(source.affine_lps[:3, :3], axis=0)
    images = slices_of(source)
    measurements = [
        # Viewers show a group only where it has a place, and its words to the right of that.
        _number(codes.IMAGES, images, codes.IMAGES_READ, places=edge_of(source, images // 2))
    ]
    measurements += [
        _number(name, value, codes.MILLIMETRE)
        for name, value in zip(codes.VOXEL_SPACING, spacing, strict=True)
        if np.isfinite(value)  # unknown where the images are no volume
    ]
    if source.echo_ms is not None:
        measurements.append(_number(codes.ECHO_TIME, source.echo_ms, codes.MILLISECOND))
    if source.field_t is not None:
        measurements.append(_number(codes.FIELD_STRENGTH, source.field_t, codes.TESLA))
    if result.quality.analysable:
        measurements.insert(0, _number(codes.COUNT, len(result.lesions), codes.LESIONS))
        if result.time_point is not None and result.time_point.order > 1:
            new = _number(codes.NEW_LESIONS, result.time_point.new, codes.LESIONS)
            measurements.insert(1, new)
    return measurements


def _summary_evaluations(result: DicomResult) -> list[sr.QualitativeEvaluation]:
    if not result.quality.analysable:
        return [
            sr.QualitativeEvaluation(codes.QUALITY, codes.INSUFFICIENT),
            sr.QualitativeEvaluation(codes.STATUS, codes.NONE_SUCCEEDED),
        ]
    count = len(result.lesions)
    quality = codes.WITH_FINDINGS if count else codes.WITHOUT_FINDINGS
    return [
        sr.QualitativeEvaluation(codes.QUALITY, quality),
        sr.QualitativeEvaluation(codes.STATUS, _status(result)),
        sr.QualitativeEvaluation(codes.COUNT_BAND, codes.count_band(count)),
        sr.QualitativeEvaluation(codes.ARIA_BAND, codes.aria_band(count)),
        sr.QualitativeEvaluation(codes.PATTERN, codes.pattern_code(_pattern(result))),
        *_grades(result.time_point),
    ]


def _grades(point: TimePoint | None) -> list[sr.QualitativeEvaluation]:
    """Make what anti-amyloid treatment asks of the first scan and of a later one."""
    if point is None:
        return []
    if point.order == 1:
        band = codes.baseline_band(point.baseline_band)
        return [sr.QualitativeEvaluation(codes.ARIA_BASELINE, band)]
    if point.category is None:
        return []
    category = codes.aria_category(point.category)
    return [sr.QualitativeEvaluation(codes.ARIA_H_FOLLOW_UP, category)]


def _pattern(result: DicomResult) -> str:
    return pattern_of([one.place.region if one.place else "unknown" for one in result.lesions])
