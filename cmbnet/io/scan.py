"""Read a scan, NIfTI or DICOM. Its content decides, and pydicom is imported only for DICOM."""

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
    """A scan in memory."""

    volume: Volume  # The scan on its own grid
    dicom: DicomSource | None = None  # Its source images. None for NIfTI.
    phase: Volume | None = None  # The phase that belongs to it in a DICOM input, if there is one
    no_phase: str = ""  # Why that is None although the input holds phase, or ""


def nifti_stem(name: str) -> str | None:
    """Return the name of a NIfTI file without its suffix, in any case; None for other files.

    Examples:
        >>> nifti_stem("scan.NII.GZ")
        'scan'
    """
    named = _NIFTI_NAME.fullmatch(name)
    return None if named is None else named[1]


def is_dicom(path: Path) -> bool:
    """Return whether a path is read as DICOM: its name is not NIfTI, and it holds DICOM files."""
    return nifti_stem(path.name) is None and holds_dicom(path)


def read_scan(
    path: Path,
    *,
    frame: int | None = None,
    series: str | None = None,
    phase_series: str | None = None,
) -> LoadedScan:
    """Read a NIfTI file, or the SWI of a DICOM folder, zip, DICOMDIR or file with its phase.

    Args:
        path: File or folder to read.
        frame: Number of the image, from 0, in a 4D file or a series with several per position.
        series: Key or UID of a DICOM series. Without it, the SWI is found.
        phase_series: Key or UID of the phase of a DICOM input, or "none". Without it, the phase is
            found.

    Raises:
        UnreadableFile: If it is missing, truncated, corrupted, or neither NIfTI nor DICOM.
        InputRefused: If it is no single 3D image of real numbers, or there is no SWI series.
        UsageError: If `frame`, `series` or `phase_series` does not exist.
        MissingExtra: If it is DICOM, and pydicom or a decoder is not installed.
    """
    if is_dicom(path):
        from cmbnet.io.dicom import read_dicom_study

        return LoadedScan(*read_dicom_study(path, series=series, phase=phase_series, frame=frame))
    if series is not None:
        raise UsageError(f"a DICOM input is required to choose a series, got {path.name}")
    return LoadedScan(read_nifti(path, frame=frame))
