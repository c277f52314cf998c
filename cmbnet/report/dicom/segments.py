"""The segments of a segmentation, as a report refers to them.

highdicom 0.28 has `ReferencedSegment.from_segmentation`. It fails with a single segment, whose
number then stands only among the shared attributes. With an enhanced source it names only one
frame. It also reads every frame once per segment.
"""

from __future__ import annotations

from collections.abc import Iterable

import highdicom as hd
from highdicom import sr
from pydicom.dataset import Dataset


def segments_of(segmentation: hd.seg.Segmentation) -> list[sr.ReferencedSegment]:
    """Make a reference to each segment that names the images of its frames.

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
