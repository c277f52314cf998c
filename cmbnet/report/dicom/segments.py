"""The segments of a segmentation, as a report refers to them.

highdicom 0.28 has `ReferencedSegment.from_segmentation`. It fails where there is a single segment,
whose number then stands once, among the shared attributes; of an enhanced source it names one frame
only; and it reads every frame once per segment.
"""

from __future__ import annotations

from collections.abc import Iterable

import highdicom as hd
from highdicom import sr
from pydicom.dataset import Dataset


def segments_of(segmentation: hd.seg.Segmentation) -> list[sr.ReferencedSegment]:
    """A reference to each segment, naming the images that its frames lie on.

    Args:
        segmentation: Made from source images, as `build_segmentation` does.

    Returns:
        In the order of segment numbers.
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
    """The one item of a functional group, which stands with the frame or with all of them."""
    group: Dataset = (frame if keyword in frame else shared)[keyword].value[0]
    return group


def _images(references: Iterable[Dataset]) -> list[sr.SourceImageForSegmentation]:
    """Each image once, with every frame that is meant."""
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
    """None, one or several."""
    value = reference.get("ReferencedFrameNumber")
    if value is None:
        return []
    return [int(value)] if isinstance(value, int) else [int(one) for one in value]
