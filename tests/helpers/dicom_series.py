"""Tiny DICOM series for tests: phantom headers, random pixels."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset

from cmbnet.phantom.dicom import ScanHeader, Vendor, write_dicom_series
from cmbnet.volume import Volume

SHAPE = (24, 20, 16)

OBLIQUE = np.array(
    [
        [-0.2, 0.05, 0.79, -11.0],
        [0.4, 0.78, 0.0, 7.0],
        [1.95, -0.17, 0.12, -3.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
"""Columns are made orthogonal below; spacing 2, 0.8, 0.8 mm."""


def oblique_affine() -> np.ndarray:
    """A rectangular grid, about 12 degrees from axial."""
    affine = OBLIQUE.copy()
    x = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    y = affine[:3, 1] - x * (affine[:3, 1] @ x)
    y /= np.linalg.norm(y)
    affine[:3, 0] = 2.0 * np.cross(x, y)
    affine[:3, 1] = 0.8 * y
    affine[:3, 2] = 0.8 * x
    return affine


def tiny_swi(*, affine: np.ndarray | None = None, shape: tuple[int, int, int] = SHAPE) -> Volume:
    data = np.random.default_rng(7).random(shape).astype(np.float32)
    return Volume(data, oblique_affine() if affine is None else affine, source="tiny")


def write_tiny(
    directory: Path,
    *,
    vendor: Vendor = Vendor.SIEMENS,
    enhanced: bool = False,
    scan: ScanHeader | None = None,
    volume: Volume | None = None,
) -> Path:
    """A whole scan; returns the directory."""
    if scan is None and volume is None:
        shutil.copytree(_written_once(vendor, enhanced=enhanced), directory, dirs_exist_ok=True)
    else:
        write_dicom_series(
            volume or tiny_swi(), directory, vendor=vendor, enhanced=enhanced, scan=scan
        )
    return directory


@functools.cache
def _written_once(vendor: Vendor, *, enhanced: bool) -> Path:
    """Files to copy: writing them would be a third of the time of most tests."""
    directory = Path(tempfile.mkdtemp(prefix="cmbnet-tests-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    write_dicom_series(tiny_swi(), directory, vendor=vendor, enhanced=enhanced)
    return directory


def swi_only(directory: Path) -> Path:
    """The SWI of a Siemens scan, one file per slice; returns the folder of the files."""
    folder = directory / "5"
    shutil.copytree(_written_once(Vendor.SIEMENS, enhanced=False) / "5", folder)
    return folder


def edit(path: Path, change: Callable[[FileDataset], None]) -> None:
    """Change a file in place."""
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path)


def edit_all(folder: Path, change: Callable[[FileDataset], None]) -> None:
    for path in sorted(folder.iterdir()):
        edit(path, change)
