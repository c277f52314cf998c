"""`DicomSource`: the data that results need to refer to their source images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cmbnet.io.dicom.frames import Frame, numbers, text
from cmbnet.io.dicom.geometry import Grid
from cmbnet.io.dicom.verdict import SeriesVerdict


@dataclass(frozen=True, slots=True, repr=False)
class DicomSource:
    """The images behind a `Volume`, in its slice order.

    Its text form names no patient. Its headers do, and they go only into the DICOM objects.
    """

    # Headers without pixels, one per file: a classic file per slice, in order of z, or one enhanced
    # file
    headers: tuple[Dataset, ...]
    # Frame (from 1) of each slice in an enhanced file. Otherwise empty.
    frame_numbers: tuple[int, ...]
    affine_lps: NDArray[np.float64]  # Affine from index (z, y, x, 1) to LPS+ mm, shape (4, 4)
    verdict: SeriesVerdict  # The verdict by which the series was chosen
    echo_ms: float | None  # Echo time. None if unknown.
    field_t: float | None  # Field strength. None if unknown.
    attributes: Dataset  # Readable values of the first header
    sop_instance_uids: tuple[str, ...]  # UIDs of the files

    def __repr__(self) -> str:
        return f"DicomSource({len(self.headers)} files of series {self.verdict.key})"

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID of the results."""
        return text(self.attributes, "StudyInstanceUID")

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID of the read series."""
        return text(self.attributes, "SeriesInstanceUID")

    @property
    def frame_of_reference_uid(self) -> str:
        """UID of the coordinate system. Empty if none is stated."""
        return text(self.attributes, "FrameOfReferenceUID")


def source_of(grid: Grid, verdict: SeriesVerdict) -> DicomSource:
    """Collect the source images from the frames of a grid."""
    frames = grid.order
    headers: dict[str, Dataset] = {}
    for frame in frames:
        headers.setdefault(frame.sop_instance_uid, frame.header)
    several = len(headers) < len(frames)
    return DicomSource(
        headers=tuple(headers.values()),
        frame_numbers=tuple(frame.index + 1 for frame in frames) if several else (),
        affine_lps=grid.affine_lps,
        verdict=verdict,
        echo_ms=_one([frame.echo_ms for frame in frames]),
        field_t=_field_strength_t(frames[0]),
        attributes=frames[0].attributes,
        sop_instance_uids=tuple(headers),
    )


def _one(values: list[float | None]) -> float | None:
    return values[0] if len(set(values)) == 1 else None


def _field_strength_t(frame: Frame) -> float | None:
    """Field strength in tesla. Some scanners state it in gauss."""
    stated = numbers(frame.attributes.get("MagneticFieldStrength"), 1)
    if not stated or stated[0] <= 0:
        return None
    return stated[0] / 1e4 if stated[0] > 100 else stated[0]
