"""The lesions as a DICOM segmentation: BINARY, one segment per lesion, on the source's grid.

Possible calcifications have segments, too, after those of the lesions and with a code of their own.
"""

from __future__ import annotations

import datetime

import highdicom as hd
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import UsageError
from cmbnet.io.dicom import DicomSource
from cmbnet.lesions import Lesion
from cmbnet.report.dicom import codes
from cmbnet.report.dicom.content import DicomResult, moment_of
from cmbnet.report.dicom.naming import head_of, name_by_content, uid_for
from cmbnet.report.dicom.references import slices_of
from cmbnet.report.dicom.source_images import (
    as_one_series,
    forget_clock,
    name_true_series,
    quiet_highdicom,
    source_images,
)


def build_segmentation(
    result: DicomResult, source: DicomSource, *, created: datetime.datetime | None = None
) -> hd.seg.Segmentation:
    """Make the segmentation of a result that has lesions or possible calcifications.

    Frames without a voxel of a lesion are left out. Otherwise 60 lesions in 72 slices of 512x512
    would be 135 MiB of zeros.
    The default of `created` is the date of the images, so every run on them gives the same bytes.

    Raises:
        UsageError: If there is neither (viewers fail on empty segmentations), or the labels lie on
            another grid.
        InputRefused: If the series states no frame of reference, or its headers are unusable.
    """
    if not result.segmented:
        raise UsageError("a segmentation needs at least one lesion; the report says that of none")
    moment = created or moment_of(source)
    with quiet_highdicom("a segmentation"):
        segmentation = hd.seg.Segmentation(
            source_images=as_one_series(source_images(source)),
            pixel_array=_segment_volume(result, source),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _description(result, source, lesion, number)
                for number, lesion in enumerate(result.segmented, start=1)
            ],
            sop_instance_uid=uid_for(result, source, "seg"),
            instance_number=1,
            device_serial_number=result.algorithm.model_sha256[:16],
            content_description=RESEARCH_USE_ONLY[:64],
            content_label="MICROBLEEDS",
            content_creator_name=None
            if result.verification is None
            else result.verification.observer,
            omit_empty_frames=True,
            **head_of(result, source, moment, "seg"),
        )
        name_true_series(segmentation, source)
        _add_sides(segmentation, result)
        _fix_uids(segmentation, uid_for(result, source, "seg dimensions"))
        forget_clock(segmentation)
        name_by_content([segmentation])
    return segmentation


def tracking_of(result: DicomResult, source: DicomSource, lesion: Lesion) -> tuple[str, str]:
    """Return UID and name by which segment and measurement group mean the same lesion."""
    if lesion.id in result.tracking:
        return result.tracking[lesion.id]
    what = f"lesion {lesion.id} {lesion.voxel_ijk} {lesion.volume_mm3:.2f}"
    return uid_for(result, source, what), tracking_id(lesion)


def tracking_id(lesion: Lesion) -> str:
    """Return the name of a lesion for people."""
    calcified = lesion.removed_by == "phase"
    return f"{'Possible calcification' if calcified else 'Microbleed candidate'} {lesion.id}"


def label_of(lesion: Lesion) -> str:
    """Return the label of a lesion in a viewer's list."""
    size = lesion.max_in_plane_diameter_mm
    name = tracking_id(lesion).removeprefix("Microbleed ").capitalize()
    said = "by reader" if np.isnan(lesion.score) else f"score {lesion.score:.2f}"
    return f"{name}: {size:.1f} mm, {said}"


def _segment_volume(result: DicomResult, source: DicomSource) -> hd.Volume:
    """Map lesion ids to segment numbers, in a volume with its affine."""
    first = source.headers[0]
    shape = (slices_of(source), int(first.Rows), int(first.Columns))
    if result.labels.shape != shape:
        raise UsageError(f"labels of shape {shape} are required, got {result.labels.shape}")
    numbers = np.zeros(int(result.labels.max()) + 1, dtype=np.uint16)
    for number, lesion in enumerate(result.segmented, start=1):
        numbers[lesion.id] = number
    return hd.Volume(
        array=numbers[result.labels],
        affine=source.affine_lps,
        coordinate_system="PATIENT",
        frame_of_reference_uid=source.frame_of_reference_uid,
    )


def _description(
    result: DicomResult, source: DicomSource, lesion: Lesion, number: int
) -> SegmentDescription:
    algorithm, by = result.algorithm, result.verification
    drawn = by is not None and lesion.id in by.drawn
    uid, name = tracking_of(result, source, lesion)
    return SegmentDescription(
        segment_number=number,
        segment_label=label_of(lesion)[:64],
        segmented_property_category=codes.ABNORMAL_STRUCTURE,
        segmented_property_type=codes.finding(lesion),
        algorithm_type=SegmentAlgorithmTypeValues.SEMIAUTOMATIC
        if drawn
        else SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"cmbnet {algorithm.model}"[:64],
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=algorithm.version,
            source="cmbnet",
            parameters={"model sha256": algorithm.model_sha256},
        ),
        tracking_uid=uid,
        tracking_id=name,
        anatomic_regions=[codes.site(lesion.place)],
    )


def _add_sides(segmentation: hd.seg.Segmentation, result: DicomResult) -> None:
    """Say the side of each segment's region, for which highdicom has no argument."""
    for segment, lesion in zip(segmentation.SegmentSequence, result.segmented, strict=True):
        side = codes.side(lesion.place)
        if side is not None:
            segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [side]


def _fix_uids(segmentation: hd.seg.Segmentation, dimensions: str) -> None:
    """Replace the one UID that highdicom draws at random."""
    for item in segmentation.DimensionOrganizationSequence:
        item.DimensionOrganizationUID = dimensions
    for item in segmentation.DimensionIndexSequence:
        item.DimensionOrganizationUID = dimensions
