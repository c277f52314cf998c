"""Hashes of the content of inputs and of our own code, by which work is known to be done."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
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


def first_with(paths: Iterable[Path], sha256: str) -> Path | None:
    """Return the first input whose content has a hash of `content_sha256`, or None.

    Raises:
        OSError: If a file cannot be read.
    """
    return next((path for path in paths if content_sha256(path) == sha256), None)


@cache
def code_sha256(*packages: str) -> str:
    """Hash the files of parts of this package: code, templates and tables.

    What a part of cmbnet made is current if the code that made it is the same. A version number
    does not tell, because code changes more often than it.
    The names are packages and modules below `cmbnet`, such as ``"preprocess"``.
    """
    root = Path(__file__).parents[1]
    hashes = []
    for name in packages:
        folder = root / name
        files = folder.rglob("*") if folder.is_dir() else [folder.with_suffix(".py")]
        hashes += [
            f"{file.relative_to(root).as_posix()} {_file_sha256(file)}"
            for file in files
            if file.is_file() and file.suffix != ".pyc"
        ]
    return _joined(sorted(hashes))


def _joined(hashes: list[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
