"""Tell a DICOM folder, zip or file from a NIfTI file, without importing pydicom."""

from __future__ import annotations

import itertools
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

_MARK_AT = 128
_MARK = b"DICM"
_FIRST_GROUPS = (2, 8)
_FIRST_ELEMENT = 0x0018
"""SOPInstanceUID: no data set of an image starts behind it."""

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_FILES_LOOKED_AT = 200
"""Number of examined files. A folder of images shows its kind early, and a home folder is large."""


def holds_dicom(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a DICOM file, or has one among its first files.

    Args:
        path: A file (DICOM, DICOMDIR or zip) or a folder, searched in depth.

    Returns:
        True if `has_dicom_mark` holds for a file. False if it holds for none, or if the path does
        not exist or cannot be read.
    """
    source = Path(path)
    try:
        if source.is_dir():
            files = (file for file in source.rglob("*") if file.is_file())
            return any(has_dicom_mark(file) for file in itertools.islice(files, _FILES_LOOKED_AT))
        return has_dicom_mark(source) or _zip_holds_dicom(source)
    except OSError:
        return False


def has_dicom_mark(path: Path) -> bool:
    """Return whether a file has ``DICM`` at byte 128, or starts as a data set without it.

    Raises:
        OSError: If the file cannot be opened.
    """
    with path.open("rb") as stream:
        return _marked(stream)


def _marked(stream: IO[bytes]) -> bool:
    start = stream.read(_MARK_AT + len(_MARK))
    return start[_MARK_AT:] == _MARK or _bare(start)


def _bare(start: bytes) -> bool:
    """Return whether data begin with two elements of a data set, as in old exports.

    The elements belong to the groups 2 or 8, and are in order. Each has a length. In an explicit
    file the letters of its type stand before the length.
    """
    at, last = 0, (0, 0)
    for _ in range(2):
        head = start[at : at + 8]
        if len(head) < 8:
            return False
        group, element, length = struct.unpack("<HHI", head)
        size = 8
        if head[4:6].isalpha() and head[4:6].isupper():
            length = int.from_bytes(head[6:], "little")
            if head[4:6] == b"OB":
                size, length = 12, int.from_bytes(start[at + 8 : at + 12], "little")
        if group not in _FIRST_GROUPS or (group, element) <= last or length % 2:
            return False
        if not last[0] and element > _FIRST_ELEMENT:
            return False
        at, last = at + size + length, (group, element)
    return True


def plain_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """List the files in a zip, without those that are encrypted or need much memory."""
    return [
        info
        for info in archive.infolist()
        if not info.is_dir() and not info.flag_bits & 1 and info.compress_type in _COMPRESSIONS
    ]


def member_has_dicom_mark(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """Do as `has_dicom_mark`, and unpack only the start of the member."""
    with archive.open(info) as member:
        return _marked(member)


def _zip_holds_dicom(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            members = plain_members(archive)[:_FILES_LOOKED_AT]
            return any(member_has_dicom_mark(archive, info) for info in members)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, ValueError, EOFError):
        return False
