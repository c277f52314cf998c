"""The place of a result: slices and pixels of the source images, as objects refer to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

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
