"""`Frame`: one 2D image with what is needed to sort, judge and place it.

A classic file holds one, an enhanced or legacy-converted file many. An attribute of a frame is
looked up in its own functional groups, then in the shared ones, then at the top of the file.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset, FileDataset

from cmbnet.errors import UnreadableFile
from cmbnet.io.dicom.dataset import DicomFile, quiet_pydicom, unreadable
from cmbnet.io.dicom.privacy import PATIENT_KEYWORDS

Numbers = tuple[float, ...]

_GE_IMAGE_KIND = 0x0043102F
_SIEMENS_TYPE_TEXT = 0x00211175
_SIEMENS_MOSAIC_COUNT = 0x0019100A
_SIEMENS_FRAME_BLOCKS = (0x002111FE, 0x002110FE)
_PHILIPS_FRAME_BLOCK = 0x2005140F

_ATTRIBUTES = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "Modality", "Manufacturer", "SeriesNumber", "SeriesDescription",
    "InstanceNumber", "ImagesInAcquisition", "AcquisitionNumber", "AcquisitionDate",
    "AcquisitionTime", "AcquisitionDateTime", "Rows", "Columns", "PhotometricInterpretation",
    "BurnedInAnnotation", "BodyPartExamined", "ScanningSequence", "EchoPulseSequence",
    "MRAcquisitionType", "MagneticFieldStrength", *PATIENT_KEYWORDS,
)  # fmt: skip

ORDERING = (
    "EchoNumbers", "TemporalPositionIdentifier", "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase", "TriggerTime", "DiffusionBValue", "AcquisitionNumber",
    "FrameAcquisitionNumber", "AcquisitionTime", "FrameAcquisitionDateTime", "InstanceNumber",
)  # fmt: skip
"""What may order the images that share a position, the surest first. The name of a file is none;
InstanceNumber stands for the number of the instance and, in it, of the frame."""

MAX_FRAMES = 20_000
"""A header may claim any number; a mutated one claims two billion."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One 2D image of a file. Values that the header lacks are None or empty."""

    file: DicomFile  # File of its pixels
    index: int  # Its number in the file, from 0
    # The whole file's header, without pixels, for references to the file. Its values are converted
    # on access, which may raise or warn.
    header: FileDataset = field(repr=False)
    # The converted values of the header on which decisions rest
    attributes: Dataset = field(repr=False)
    multiframe: bool  # Whether the file describes its frames in functional groups
    tokens: frozenset[str]  # Words of ImageType, FrameType and their private relatives, upper case
    component: str  # ComplexImageComponent ("MAGNITUDE", "PHASE"...) or empty
    ge_kind: int | None  # GE's private image kind: 0 magnitude, 1 phase, 2 real, 3 imaginary
    echo_ms: float | None  # Echo time; 0 is stored by some scanners for "unknown" and becomes None
    position: Numbers | None  # LPS mm of the centre of the first pixel
    orientation: Numbers | None  # Six direction cosines: along a row, along a column
    pixel_spacing_mm: Numbers | None  # Distance of rows, of columns
    # Values, by keyword, that may order images of one position. None if the header lacks one. A
    # time of day is in seconds.
    numbers: Mapping[str, float | None] = field(repr=False)
    thickness_mm: float | None
    stated_spacing_mm: float | None
    slope: float  # Slope of the stored values. 1 if none is stated.
    intercept: float  # Intercept of the stored values. 0 if none is stated.

    @property
    def sop_instance_uid(self) -> str:
        """UID of the file that holds the frame."""
        return text(self.attributes, "SOPInstanceUID")

    @property
    def instance_number(self) -> int:
        """InstanceNumber, or 0 without one."""
        return int(number(self.attributes.get("InstanceNumber")) or 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = (number(self.attributes.get(name)) or 0 for name in ("Rows", "Columns"))
        return int(rows), int(columns)

    @property
    def label(self) -> str:
        """Name in a message: instance number and file, or frame number and file."""
        if self.multiframe:
            return f"frame {self.index + 1} of {self.file.name}"
        return f"instance {self.instance_number} ({self.file.name})"


def holds_mosaic(frame: Frame) -> bool:
    """Return whether Siemens states that the image holds several slices."""
    with contextlib.suppress(Exception):  # a private value may be anything
        return (number(_raw(frame.header, _SIEMENS_MOSAIC_COUNT)) or 0) > 1
    return False


def readable_attributes(header: Dataset) -> Dataset:
    """Convert the values of a header that this package uses. An unreadable value is left out."""
    attributes = Dataset()
    with quiet_pydicom():
        for keyword in _ATTRIBUTES:
            # The tag's value is converted here, which may raise nearly anything.
            with contextlib.suppress(Exception):
                attributes[keyword] = header[keyword]
    return attributes


def read_frames(file: DicomFile, header: FileDataset) -> tuple[Frame, ...]:
    """Read all frames of a file.

    Raises:
        UnreadableFile: If the header contradicts itself or holds impossible values.
    """
    try:
        with quiet_pydicom():
            return tuple(_frames(file, header))
    except UnreadableFile:
        raise
    # Values are converted when they are first looked at, so that a mutated header faults here.
    except Exception as error:
        raise unreadable(file, error) from error


def text(header: Dataset, keyword: str) -> str:
    """Return a value as text without blanks around it. Empty without a value."""
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def number(value: Any) -> float | None:
    """Return a finite number, or None."""
    numbers_ = numbers(value, 1)
    return None if numbers_ is None else numbers_[0]


def numbers(value: Any, count: int) -> Numbers | None:
    """Return exactly `count` finite numbers, or None."""
    if value is None or value == "":
        return None
    try:
        # A damaged file may state any type for any value.
        values = [value] if isinstance(value, str | int | float) else list(value)
        found = tuple(float(item) for item in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def _frames(file: DicomFile, header: FileDataset) -> Iterator[Frame]:
    attributes = readable_attributes(header)
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        count = int(number(header.get("NumberOfFrames")) or 1)
        if count > 1:
            raise UnreadableFile(
                f"{file.name} holds {count} frames and says of none where it lies "
                "(no functional groups)"
            )
        yield _frame(file, 0, header, attributes, (header,))
        return
    count = int(number(header.get("NumberOfFrames")) or 0)
    if count != len(per_frame) or count > MAX_FRAMES:
        raise UnreadableFile(
            f"{file.name} states {count} frames and describes {len(per_frame)} "
            f"(at most {MAX_FRAMES} are read)"
        )
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])
    for index, own in enumerate(per_frame):
        groups = [*_group(own), *(group for item in shared for group in _group(item)), header]
        yield _frame(file, index, header, attributes, groups)


def _group(item: Dataset) -> Iterator[Dataset]:
    """The macros of a functional group, each a sequence of one item."""
    for element in item:
        # Private blocks are asked for by name only: Philips repeats the classic header there.
        if element.VR == "SQ" and element.value and not element.tag.is_private:
            yield element.value[0]
    yield item


def _frame(
    file: DicomFile, index: int, header: FileDataset, attributes: Dataset, groups: Sequence[Dataset]
) -> Frame:
    echo = _first(groups, "EffectiveEchoTime") or _first(groups, "EchoTime")
    slope, intercept = _scaling(groups)
    return Frame(
        file=file,
        index=index,
        header=header,
        attributes=attributes,
        multiframe=len(groups) > 1,
        tokens=_tokens(groups),
        component=str(_first(groups, "ComplexImageComponent") or "").upper(),
        ge_kind=_ge_kind(header),
        echo_ms=number(echo) or None,
        position=numbers(_first(groups, "ImagePositionPatient"), 3),
        orientation=numbers(_first(groups, "ImageOrientationPatient"), 6),
        pixel_spacing_mm=numbers(_first(groups, "PixelSpacing"), 2),
        numbers=_ordering(groups, header, index),
        thickness_mm=number(_first(groups, "SliceThickness")),
        stated_spacing_mm=number(_first(groups, "SpacingBetweenSlices")),
        slope=slope,
        intercept=intercept,
    )


def _ordering(
    groups: Sequence[Dataset], header: FileDataset, index: int
) -> dict[str, float | None]:
    found = {
        keyword: _seconds(_first(groups, keyword))
        if keyword.endswith("Time")
        else number(_first(groups, keyword))
        for keyword in ORDERING
    }
    instance = number(header.get("InstanceNumber")) or 0.0
    return found | {"InstanceNumber": instance * MAX_FRAMES + index}


def _seconds(value: Any) -> float | None:
    """Seconds of a time of day (HHMMSS.F), or of a date and time, since an arbitrary moment."""
    stated = re.fullmatch(r"(\d{8})?(\d\d)(\d\d)(\d\d(?:\.\d*)?)\S*", str(value).strip())
    if stated is None:
        return None
    day, hours, minutes, seconds = stated.groups()
    return int(day or 0) * 86400.0 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _first(groups: Sequence[Dataset], keyword: str) -> Any:
    for group in groups:
        value = group.get(keyword)
        if value is not None and value != "":
            return value
    return None


def _scaling(groups: Sequence[Dataset]) -> tuple[float, float]:
    """Rescale slope and intercept; where none is stated, a linear real-world mapping's."""
    slope = number(_first(groups, "RescaleSlope"))
    intercept = number(_first(groups, "RescaleIntercept"))
    if slope is None:
        slope = number(_first(groups, "RealWorldValueSlope"))
        intercept = number(_first(groups, "RealWorldValueIntercept"))
    # A slope of 0 would make every voxel the same; it is a mutilated header, not an image.
    return (slope or 1.0), (intercept or 0.0)


def _tokens(groups: Sequence[Dataset]) -> frozenset[str]:
    """Words of the frame; those of the file only where the frame has none of its own.

    A file that holds magnitude and phase bears the words of one of them, or MIXED.
    """
    found = words(_first(groups, "FrameType")) or words(_first(groups, "ImageType"))
    for group in groups:
        found += words(_raw(group, _SIEMENS_TYPE_TEXT))
        for block in _SIEMENS_FRAME_BLOCKS:
            texts = (_raw(item, _SIEMENS_TYPE_TEXT) for item in _items(group, block))
            found += [word for value in texts for word in words(value)]
        for item in _items(group, _PHILIPS_FRAME_BLOCK):
            found += words(item.get("ImageType"))
    return frozenset(word for word in found if word)


def words(value: Any) -> list[str]:
    """Return the words of a multiple value, in upper case and without blanks around them."""
    if value is None:
        return []
    values = value.split("\\") if isinstance(value, str) else value
    if not isinstance(values, Iterable):
        return []
    return [str(word).strip().upper() for word in values]


def _raw(group: Dataset, tag: int) -> Any:
    """Value of a private tag; bytes of an unknown VR as text."""
    value = group[tag].value if tag in group else None
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _items(group: Dataset, tag: int) -> list[Dataset]:
    value = group[tag].value if tag in group else None
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def _ge_kind(header: Dataset) -> int | None:
    """GE's private image kind, believed only in a file of GE."""
    if not text(header, "Manufacturer").upper().startswith("GE"):
        return None
    value = header[_GE_IMAGE_KIND].value if _GE_IMAGE_KIND in header else None
    if isinstance(value, bytes):
        # Implicit VR: the private dictionary may not know it. SS, two bytes, little endian.
        return int.from_bytes(value[:2], "little", signed=True) if len(value) >= 2 else None
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    kind = number(value)
    return None if kind is None else int(kind)
