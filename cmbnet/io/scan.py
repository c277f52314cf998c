"""Read a scan, NIfTI or DICOM, told by its content; pydicom is imported for DICOM alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cmbnet.errors import UsageError
from cmbnet.io.detect import holds_dicom
from cmbnet.io.nifti import read_nifti

if TYPE_CHECKING:
    from cmbnet.io.dicom import DicomSource
    from cmbnet.volume import Volume

_NIFTI_NAME = re.compile(r"(.*)\.nii(\.gz)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class LoadedScan:
    """A scan in memory.

    Args:
        volume: On its own grid.
        dicom: The images it was made of, None for NIfTI.
    """

    volume: Volume
    dicom: DicomSource | None = None


def nifti_stem(name: str) -> str | None:
    """The name of a NIfTI file without its suffix, in whatever case; None of another file.

    Examples:
        >>> nifti_stem("scan.NII.GZ")
        'scan'
    """
    named = _NIFTI_NAME.fullmatch(name)
    return None if named is None else named[1]


def is_dicom(path: Path) -> bool:
    """Whether a path is to be read as DICOM: it is not called NIfTI, and holds DICOM files."""
    return nifti_stem(path.name) is None and holds_dicom(path)


def read_scan(path: Path, *, frame: int | None = None, series: str | None = None) -> LoadedScan:
    """Read a NIfTI file, or the SWI series of a DICOM folder, zip, DICOMDIR or file.

    Args:
        path: What to read.
        frame: Which image, from 0, of a 4D file or of a series with several per position.
        series: DICOM only: the series to read, by its key or UID; by default the SWI is found.

    Raises:
        UnreadableFile: Missing, truncated, corrupted, or neither NIfTI nor DICOM.
        InputRefused: It is no single 3D image of real numbers, or there is no SWI series.
        UsageError: `frame` or `series` does not exist.
        MissingExtra: It is DICOM, and pydicom or a decoder is not installed.
    """
    if is_dicom(path):
        from cmbnet.io.dicom import read_dicom_series

        return LoadedScan(*read_dicom_series(path, series=series, frame=frame))
    if series is not None:
        raise UsageError(f"a DICOM input is required to choose a series, got {path.name}")
    return LoadedScan(read_nifti(path, frame=frame))
