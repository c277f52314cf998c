"""The scans of a cohort as DICOM, beside their NIfTI files: ``dicom/<case>/<series>/IM000001``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cmbnet.io import read_nifti
from cmbnet.phantom.dicom import ScanHeader, Vendor, write_dicom_series

FOLDER = "dicom"


def write_dicom_cohort(
    directory: str | Path, *, vendor: Vendor, enhanced: bool = False
) -> Iterator[str]:
    """Write every case of a finished cohort as a vendor's scanner would send it.

    The same cohort gives the same bytes. DICOM files of a case that are there are replaced.

    Args:
        directory: What `write_cohort` made.
        vendor: Whose headers are imitated.
        enhanced: One multi-frame file per series instead of one file per slice.

    Yields:
        The name of each case that is written.
    """
    root = Path(directory)
    for record in sorted((root / "cases").glob("*.json")):
        protocol = json.loads(record.read_text(encoding="utf-8"))["protocol"]
        target = root / FOLDER / record.stem
        if target.exists():
            shutil.rmtree(target)  # another vendor's series must not lie among ours
        write_dicom_series(
            read_nifti(root / "images" / f"{record.stem}.nii.gz"),
            target,
            vendor=vendor,
            enhanced=enhanced,
            scan=_scan(record.stem, protocol),
        )
        yield record.stem


def _scan(name: str, protocol: dict[str, Any]) -> ScanHeader:
    return ScanHeader(
        name=name,
        echo_ms=protocol["te_ms"],
        repetition_ms=protocol["tr_ms"],
        flip_degrees=protocol["flip_deg"],
        field_t=protocol["field_t"],
    )
