"""Bounded reading of an object's content. A hostile object may be made to exhaust its reader.

pydicom parses a whole sequence of undefined length, item by item, to skip it. 22 MB of empty items
then take 4 GB and minutes. This module skips sequences without an object for each item.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydicom.datadict import tag_for_keyword
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

_PREAMBLE_BYTES: Final = 132
_UNDEFINED: Final = 0xFFFFFFFF
_META_GROUP: Final = 0x0002
_ITEM_GROUP: Final = 0xFFFE
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_LONG_FORMS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_MOST_NESTED: Final = 500_000
"""Limit of elements in sequences of undefined length: a thousand frames of hundreds of elements."""
_LONGEST_VALUE: Final = 1024
_PIECE_BYTES: Final = 1 << 20
_UNCOMPRESSED: Final = {str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)}


def _tags(*keywords: str) -> tuple[int, ...]:
    found = [tag_for_keyword(keyword) for keyword in keywords]
    return tuple(sorted(tag for tag in found if tag is not None))


_SYNTAX: Final = 0x00020010
_PIXELS: Final = _tags("FloatPixelData", "DoubleFloatPixelData", "PixelData")
_PERSON: Final = _tags(
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "AccessionNumber", "StudyID", "StudyDate", "ReferringPhysicianName",
)  # fmt: skip
"""Elements of patient and examination, which results repeat."""
_GRID: Final = _tags(
    "SeriesInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "SliceThickness", "NumberOfFrames", "PhotometricInterpretation",
    "RescaleIntercept", "RescaleSlope",
)  # fmt: skip
_SIZES: Final = _tags("SamplesPerPixel", "Rows", "Columns", "BitsAllocated")
_BITS: Final = _tags("BitsStored", "HighBit", "PixelRepresentation")
"""Further elements of the meaning and place of pixels. These are numbers, not text."""
_FRAMES: Final = _tags("NumberOfFrames")[0]


@dataclass(frozen=True, slots=True)
class Contents:
    """The parts by which two versions of an object are compared."""

    person: str  # Digest of the identity
    grid: str  # Digest of the meaning and place of the pixels
    pixels: str  # Digest of the pixels as stored in the file. Empty without pixels.
    syntax: str  # Transfer syntax. Pixels of two objects can be compared if neither is compressed.
    whole: bool  # Whether the file has all pixels that the header announces

    def shows_the_same_as(self, other: Contents) -> bool:
        """Return whether both show the same image, as far as this is known without decoding."""
        return self.grid == other.grid and (
            self.pixels == other.pixels or not self._comparable(other)
        )

    def _comparable(self, other: Contents) -> bool:
        return self.syntax == other.syntax or {self.syntax, other.syntax} == _UNCOMPRESSED


def read_values(path: Path, keywords: tuple[str, ...]) -> dict[str, str]:
    """Read short values of the top level. A missing element gives an empty value.

    Reading stops after the last of the keywords.

    Raises:
        ValueError: If it is not a DICOM file, is cut off earlier, or its sequences are too large.
        OSError: If the file cannot be read.
    """
    wanted = dict(zip(keywords, map(tag_for_keyword, keywords), strict=True))
    values: dict[int, str] = {}
    with path.open("rb") as stream:
        for tag, length in _elements(stream, last=max(filter(None, wanted.values()))):
            if tag in wanted.values():
                values[tag] = _short(stream, length).decode("ascii", "replace")
    return {keyword: values.get(tag or 0, "") for keyword, tag in wanted.items()}


def contents_of(path: Path) -> Contents:
    """Read a file to its end. A damaged file counts as far as it can be read."""
    values: dict[int, bytes] = {}
    pixels, size = hashlib.sha256(), 0
    with path.open("rb") as stream, contextlib.suppress(ValueError):
        for tag, length in _elements(stream, last=max(_PIXELS)):
            if tag in _PIXELS:
                size += _hash_pixels(stream, length, pixels.update)
            elif tag in _SIZES or tag in _BITS:
                values[tag] = stream.read(min(length, 2))
            elif tag == _SYNTAX or tag in _PERSON or tag in _GRID:
                values[tag] = _short(stream, length)
    syntax = values.get(_SYNTAX, b"").decode("ascii", "replace")
    return Contents(
        person=_digest(values, _PERSON),
        grid=_digest(values, _GRID + _SIZES + _BITS),
        pixels=pixels.hexdigest(),
        syntax=syntax,
        whole=size >= (_announced(values) if syntax in _UNCOMPRESSED else 1) > 0,
    )


def _announced(values: Mapping[int, bytes]) -> int:
    """Return the size in bytes of uncompressed pixels."""
    frames = values.get(_FRAMES, b"")
    bits = int(frames) if frames.isdigit() else 1
    for tag in _SIZES:
        bits *= int.from_bytes(values.get(tag, b""), "little")
    return bits // 8


def _digest(values: Mapping[int, bytes], tags: tuple[int, ...]) -> str:
    return hashlib.sha256(b"\n".join(values.get(tag, b"") for tag in tags)).hexdigest()


def _short(stream: BinaryIO, length: int) -> bytes:
    """Return a value without its padding. Only the beginning of a long value is returned."""
    return stream.read(min(length, _LONGEST_VALUE)).strip(b" \0")


def _hash_pixels(stream: BinaryIO, length: int, update: Callable[[bytes], None]) -> int:
    """Hash pixels in pieces, and count their bytes. Compressed pixels are the rest of the file."""
    left = length
    while left and (piece := stream.read(min(left, _PIECE_BYTES))):
        update(piece)
        left -= len(piece)
    return length - left


def _elements(stream: BinaryIO, last: int) -> Iterator[tuple[int, int]]:
    """Yield tag and length of each element of the top level, with the stream at its value.

    The file is little endian. Reading stops after the tag `last`.
    """
    if stream.read(_PREAMBLE_BYTES)[-4:] != b"DICM":
        raise ValueError("there is no DICOM mark")
    reader = _Reader(stream)
    while (found := reader.header()) is not None and found[0] <= last:
        value = stream.tell()
        yield found
        stream.seek(value)
        reader.pass_over(found[1])


class _Reader:
    """A reader that goes from element to element without values in memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._nested = 0
        self._implicit: bool | None = None
        self._vr = b""

    def header(self) -> tuple[int, int] | None:
        """Return tag and length of the next element, or None at the end of the file."""
        head = self._stream.read(8)
        if not head:
            return None
        if len(head) < 8:
            raise ValueError("it is cut off")
        group, element, self._vr, short = struct.unpack("<HH2sH", head)
        tag, stated = group << 16 | element, self._vr.isupper()
        if self._implicit is None and group > _META_GROUP:
            # As the first element is: some senders do not write what they announce.
            self._implicit = not stated
        implicit = group > _META_GROUP and bool(self._implicit)
        if implicit or not stated or group == _ITEM_GROUP:
            return tag, int.from_bytes(head[4:], "little")
        return tag, self._long() if self._vr in _LONG_FORMS else short

    def _long(self) -> int:
        rest = self._stream.read(4)
        if len(rest) < 4:
            raise ValueError("it is cut off")
        return int.from_bytes(rest, "little")

    def pass_over(self, length: int) -> None:
        """Skip a value. A value of undefined length ends with a mark and may hold others."""
        if length != _UNDEFINED:
            self._stream.seek(length, 1)
            return
        outside = [self._enter()]
        while outside:
            found = self.header()
            self._nested += 1
            if found is None or self._nested > _MOST_NESTED:
                raise ValueError("its sequences have no end, or hold too much")
            tag, length = found
            if tag in (_ITEM_END, _SEQUENCE_END):
                self._implicit = outside.pop()
            elif length == _UNDEFINED:
                outside.append(self._enter())
            else:
                self._stream.seek(length, 1)

    def _enter(self) -> bool | None:
        """Enter a value. A value of unknown kind is encoded implicitly (PS3.5 6.2.2)."""
        before = self._implicit
        self._implicit = before or self._vr == b"UN"
        return before
