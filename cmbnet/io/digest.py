"""A hash of the content of an input, independent of the names of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cmbnet.io.detect import has_dicom_mark
from cmbnet.io.nifti import files_of

_CATALOGUE = "DICOMDIR"


def content_sha256(path: Path) -> str:
    """Hash a file, or the sorted hashes of the DICOM files of a folder, by SHA-256.

    Of a NIfTI pair, ``.hdr`` and ``.img``, it is that of the hashes of both. A DICOMDIR stands for
    its folder, since it only lists what lies there.

    Raises:
        OSError: If a file cannot be read.
    """
    if path.is_file() and path.name.upper() != _CATALOGUE:
        hashes = [_file_sha256(file) for file in {*files_of(path)} if file.exists()]
        return hashes[0] if len(hashes) == 1 else _joined(sorted(hashes))
    folder = path if path.is_dir() else path.parent
    hashes = sorted(
        _file_sha256(file) for file in folder.rglob("*") if file.is_file() and has_dicom_mark(file)
    )
    return _joined(hashes)


def _joined(hashes: list[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
