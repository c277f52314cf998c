"""Tell a DICOM folder, zip or file from a NIfTI file, without importing pydicom."""

from __future__ import annotations

import itertools
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

_MARK_AT = 128
_MARK = b"DICM"
_FILES_LOOKED_AT = 200
"""A folder of images shows its kind early; a home folder named by mistake is not walked whole."""


def holds_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a path is, or holds among its first files, a DICOM file.

    Args:
        path: A file (DICOM, DICOMDIR or zip) or a folder, searched in depth.

    Returns:
        True at the first file that bears the mark ``DICM`` at byte 128; False where there is
        none, the path does not exist, or it cannot be read.
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
    """Whether a file bears ``DICM`` at byte 128.

    Raises:
        OSError: If the file cannot be opened.
    """
    with path.open("rb") as stream:
        return _marked(stream)


def _marked(stream: BinaryIO) -> bool:
    return stream.read(_MARK_AT + len(_MARK))[_MARK_AT:] == _MARK


def _zip_holds_dicom(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist()[:_FILES_LOOKED_AT]:
                if info.is_dir() or info.flag_bits & 1:
                    continue
                with archive.open(info) as member:
                    if _marked(member):  # type: ignore[arg-type]
                        return True
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError):
        return False
    return False
