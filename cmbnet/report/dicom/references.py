"""References of objects to slices and pixels of the source images, and to segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import highdicom as hd
import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset

if TYPE_CHECKING:
    from cmbnet.io.dicom import DicomSource
    from cmbnet.lesions import Lesion


def slices_of(source: DicomSource) -> int:
    """Return the number of slices."""
    return len(source.frame_numbers) or len(source.headers)


def slice_at(source: DicomSource, z: int) -> tuple[Dataset, int | None]:
    """Return the header of a slice, and its frame (from 1) if the file has several."""
    if source.frame_numbers:
        return source.headers[0], source.frame_numbers[z]
    return source.headers[z], None


def reference_to_file(header: Dataset) -> Dataset:
    """Make a reference to a whole file."""
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item


def reference_to(source: DicomSource, z: int) -> Dataset:
    """Make a reference to a slice."""
    header, frame = slice_at(source, z)
    item = reference_to_file(header)
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def point_of(lesion: Lesion, source: DicomSource) -> sr.ImageRegion:
    """Return the middle of the voxel at a lesion's centre, on its slice."""
    x, y, z = lesion.voxel_ijk
    return sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POINT,
        graphic_data=np.array([[x + 0.5, y + 0.5]]),  # 0, 0 is the corner of the first pixel
        source_image=reference_as(sr.SourceImageForRegion, source, z),
    )


def edge_of(source: DicomSource, z: int) -> list[sr.CoordinatesForMeasurement]:
    """Return a piece of a slice's left edge without tissue, or None if its size is unknown."""
    rows = slice_at(source, z)[0].get("Rows")
    if not rows:
        return []
    return [
        sr.CoordinatesForMeasurement(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=np.array([[0.0, 0.0], [0.0, rows / 8]]),
            source_image=reference_as(sr.SourceImageForRegion, source, z),
        )
    ]


_Item = TypeVar("_Item")


def reference_as(kind: Callable[..., _Item], source: DicomSource, z: int) -> _Item:
    """Make a reference to a slice as an item of a structured report, of a class of highdicom."""
    header, frame = slice_at(source, z)
    return kind(
        referenced_sop_class_uid=str(header.SOPClassUID),
        referenced_sop_instance_uid=str(header.SOPInstanceUID),
        referenced_frame_numbers=None if frame is None else [frame],
    )


def segments_of(segmentation: hd.seg.Segmentation) -> list[sr.ReferencedSegment]:
    """Make a reference to each segment that names the images of its frames.

    highdicom 0.28 has `ReferencedSegment.from_segmentation`. It fails with a single segment, whose
    number then stands only among the shared attributes. With an enhanced source it names only one
    frame. It also reads every frame once per segment.

    Returns:
        The references in the order of segment numbers.
    """
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    references: dict[int, list[Dataset]] = {
        int(segment.SegmentNumber): [] for segment in segmentation.SegmentSequence
    }
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        identification = _group(frame, shared, "SegmentIdentificationSequence")
        number = int(identification.ReferencedSegmentNumber)
        derivation = _group(frame, shared, "DerivationImageSequence")
        references[number].extend(derivation.SourceImageSequence)
    return [
        sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=number,
            source_images=_images(found),
        )
        for number, found in references.items()
    ]


def _group(frame: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """Return the one item of a functional group, of the frame or of all frames."""
    group: Dataset = (frame if keyword in frame else shared)[keyword].value[0]
    return group


def _images(references: Iterable[Dataset]) -> list[sr.SourceImageForSegmentation]:
    """Return each image once, with all its frames that are meant."""
    classes: dict[str, str] = {}
    frames: dict[str, list[int]] = {}
    for one in references:
        uid = str(one.ReferencedSOPInstanceUID)
        classes[uid] = str(one.ReferencedSOPClassUID)
        frames.setdefault(uid, []).extend(_frame_numbers(one))
    return [
        sr.SourceImageForSegmentation(
            referenced_sop_class_uid=sop_class,
            referenced_sop_instance_uid=uid,
            referenced_frame_numbers=sorted(frames[uid]) or None,
        )
        for uid, sop_class in classes.items()
    ]


def _frame_numbers(reference: Dataset) -> list[int]:
    """Return None, one frame number or several."""
    value = reference.get("ReferencedFrameNumber")
    if value is None:
        return []
    return [int(value)] if isinstance(value, int) else [int(one) for one in value]
