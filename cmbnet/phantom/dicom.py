"""Write a phantom as the DICOM series that a scanner would send, to exercise the whole chain.

Beside the SWI come the series that a reader must not take for it: magnitude, phase and minimum
intensity projection. They are stand-ins made from the SWI, right in header and geometry; nothing
may be concluded from their grey values. Only a phase that is given is true.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused, MissingExtra
from cmbnet.io import read_nifti
from cmbnet.volume import Volume

if find_spec("pydicom") is None:
    raise MissingExtra("pydicom", "dicom", "to write DICOM")

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from cmbnet.phantom.dicom_enhanced import enhance
from cmbnet.phantom.dicom_headers import ScanHeader, decimal, series_header
from cmbnet.phantom.dicom_vendors import STYLES, Content, SeriesStyle, Vendor

PROJECTED_SLICES = 8
"""Slices in one minimum intensity projection: N slices give N - 7, as on Siemens."""

_LARGEST_STORED = 4095
_UID_SPACE = uuid.UUID("6f1cf5a0-4e0b-5c8e-9a53-2d6f0b6b3d55")


@dataclass(frozen=True, slots=True)
class _Placed:
    """An image in a scanner's orientation: columns to the left, rows to the back, slices up."""

    data: NDArray[np.float32]  # (z, y, x), float32
    affine_lps: NDArray[np.float64]  # (4, 4), index (z, y, x, 1) to LPS+ mm


def write_dicom_series(
    swi: Volume,
    directory: Path,
    *,
    vendor: Vendor,
    enhanced: bool = False,
    scan: ScanHeader | None = None,
    phase: Volume | None = None,
) -> list[Path]:
    """Write one scan: the SWI and what else the vendor sends with it.

    Args:
        swi: Grey values, at least 0, on a rectangular grid in any orientation.
        directory: Gets the files, ``series-number/IM000001``.
        vendor: Whose headers are imitated.
        enhanced: One multi-frame file per series instead of one file per slice.
        scan: Names, times and echo; the same scan gives the same UIDs and bytes.
        phase: The phase on the grid of the SWI; its range of values is one turn. It is written in
            the unit of the vendor.

    Returns:
        The files written.

    Raises:
        InputRefused: The grid is sheared, or has fewer than `PROJECTED_SLICES` slices.
    """
    scan = scan or ScanHeader()
    placed, turned = _place(swi), None if phase is None else _place(phase)
    style = STYLES[vendor]
    paths: list[Path] = []
    instances: dict[int, int] = {}
    for number in dict.fromkeys(series.number for series in style.series):
        kinds = [series for series in style.series if series.number == number]
        images = [
            (kind, _stored_turn(turned))
            if kind.content == "phase" and turned
            else (kind, _content(placed, kind))
            for kind in kinds
        ]
        stem = f"{scan.name}/{vendor}/{number}/{'enhanced' if enhanced else 'classic'}"
        header = series_header(style, kinds[0], scan, uid_of(f"{scan.name}/{vendor}"), uid_of(stem))
        datasets = (
            [enhance(header, [(k, i.data, i.affine_lps) for k, i in images], scan)]
            if enhanced
            else _classic(header, images)
        )
        for dataset in datasets:
            instances[number] = instances.get(number, 0) + 1
            dataset.InstanceNumber = instances[number]
            dataset.SOPInstanceUID = uid_of(f"{stem}/{instances[number]}")
            path = directory / str(number) / f"IM{instances[number]:06d}"
            _save(dataset, path, enhanced=enhanced)
            paths.append(path)
    return paths


def write_dicom_cohort(
    directory: str | Path, *, vendor: Vendor, enhanced: bool = False
) -> Iterator[str]:
    """Write every case of a finished cohort as ``dicom/<case>/<series>/IM000001``.

    The same cohort gives the same bytes. DICOM files of a case that are there are replaced.
    `directory` is what `write_cohort` made. An enhanced series is one multi-frame file.

    Yields:
        The name of each case that is written.
    """
    root = Path(directory)
    for record in sorted((root / "cases").glob("*.json")):
        protocol = json.loads(record.read_text(encoding="utf-8"))["protocol"]
        target = root / "dicom" / record.stem
        if target.exists():
            shutil.rmtree(target)  # another vendor's series must not lie among ours
        phase = root / "phase" / f"{record.stem}.nii.gz"
        write_dicom_series(
            read_nifti(root / "images" / f"{record.stem}.nii.gz"),
            target,
            phase=read_nifti(phase) if phase.exists() else None,
            vendor=vendor,
            enhanced=enhanced,
            scan=ScanHeader(
                name=record.stem,
                echo_ms=protocol["te_ms"],
                repetition_ms=protocol["tr_ms"],
                flip_degrees=protocol["flip_deg"],
                field_t=protocol["field_t"],
            ),
        )
        yield record.stem


def uid_of(name: str) -> str:
    """Make a UID that depends on nothing but a name."""
    return f"2.25.{uuid.uuid5(_UID_SPACE, name).int}"


def _place(swi: Volume) -> _Placed:
    """Flip axes, never resample, so that the grid points left, back and up."""
    if swi.shape[0] < PROJECTED_SLICES:
        raise InputRefused(f"at least {PROJECTED_SLICES} slices are required, got {swi.shape[0]}")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ swi.affine
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > 1e-4:
        raise InputRefused(
            f"a rectangular grid is required to write DICOM, {swi.source} is sheared"
        )
    data = np.asarray(swi.data, dtype=np.float32)
    for axis, toward in ((0, 2), (1, 1), (2, 0)):
        if affine[toward, axis] < 0:
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
            data = np.flip(data, axis)
    return _Placed(data, affine)


def _content(placed: _Placed, style: SeriesStyle) -> _Placed:
    """Stored values, 0 to 4095, of one image kind."""
    top = max(float(placed.data.max()), 1e-6)
    unit = np.clip(placed.data / top, 0.0, 1.0)
    affine = placed.affine_lps.copy()
    if style.content == "projection":
        from scipy.ndimage import minimum_filter1d

        half = PROJECTED_SLICES // 2
        unit = minimum_filter1d(unit, PROJECTED_SLICES, axis=0)[half : half + len(unit) - 7]
        affine[:3, 3] += affine[:3, 0] * (PROJECTED_SLICES - 1) / 2
    return _Placed(_as_stored(unit, style.content), affine)


def _stored_turn(phase: _Placed) -> _Placed:
    """Phase as 12 bits for a turn; the slope of each vendor makes its unit of that."""
    unit = (phase.data - phase.data.min()) / max(float(np.ptp(phase.data)), 1e-6)
    return _Placed(np.rint(unit * _LARGEST_STORED), phase.affine_lps)


def _as_stored(unit: NDArray[np.float32], content: Content) -> NDArray[np.float32]:
    if content == "phase":
        # The field around a dark spot has two lobes along the slices; so does the gradient.
        unit = 0.5 + 0.5 * np.gradient(unit, axis=0).astype(np.float32)
    if content == "magnitude":
        unit = np.sqrt(unit)
    return np.rint(unit * _LARGEST_STORED).astype(np.float32)


def _classic(header: Dataset, images: list[tuple[SeriesStyle, _Placed]]) -> Iterator[Dataset]:
    """One dataset per slice; kinds of one series take turns, as Philips sends them."""
    for z in range(max(len(image.data) for _, image in images)):
        for style, image in images:
            if z < len(image.data):
                yield _slice(header, style, image, z)


def _slice(header: Dataset, style: SeriesStyle, image: _Placed, z: int) -> Dataset:
    dataset = Dataset()
    dataset.update(header)
    affine = image.affine_lps
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    dataset.SOPClassUID = MRImageStorage
    dataset.ImageType = style.image_type.split("\\")
    dataset.SeriesDescription = style.description
    dataset.ImagePositionPatient = [decimal(v) for v in (affine @ [z, 0, 0, 1])[:3]]
    dataset.ImageOrientationPatient = [
        decimal(v) for axis in (2, 1) for v in affine[:3, axis] / steps[axis]
    ]
    dataset.PixelSpacing = [decimal(steps[1]), decimal(steps[2])]
    dataset.SliceThickness = decimal(steps[0])
    dataset.SpacingBetweenSlices = decimal(steps[0])
    if style.slope is not None:
        dataset.RescaleIntercept = decimal(style.intercept)
        dataset.RescaleSlope = decimal(style.slope)
        dataset.RescaleType = "US"
    if style.ge_kind is not None:
        block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x2F, "SS", style.ge_kind)
    dataset.Rows, dataset.Columns = image.data.shape[1:]
    dataset.PixelData = image.data[z].astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _save(dataset: Dataset, path: Path, *, enhanced: bool) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedMRImageStorage if enhanced else MRImageStorage
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


__all__ = [
    "PROJECTED_SLICES", "ScanHeader", "Vendor", "uid_of", "write_dicom_cohort",
    "write_dicom_series",
]  # fmt: skip
