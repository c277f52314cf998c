"""Reading of NIfTI and MGH files: one 3D image of real numbers, or a sentence that says why not.

The file's index order ``(i, j, k)`` is turned to ``(k, j, i)`` here, which costs nothing (the
file stores i fastest), and no further: axis order and flips are those of the file.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from isal import igzip, isal_zlib

from cmbnet.errors import InputRefused, UnreadableFile, UsageError, printable
from cmbnet.io.nifti_header import (
    MILLIMETRES,
    NIFTI2_BYTES,
    UNIT_MM,
    NiftiHeader,
    parse_header,
    parse_mgh_header,
)
from cmbnet.threads import in_slabs
from cmbnet.volume import MOST_VOXELS, HeaderForms, Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_ORIENTATION: Final = (
    "the header holds no orientation (qform_code and sform_code are 0): left and right are unknown"
)
"""Note on a volume whose header places it nowhere; `write_nifti` then claims no place either."""

SHEAR_TOLERANCE: Final = 0.01
"""Largest cosine between two grid axes. 0.01 is 0.6 degrees, 2 mm over a head; rounding of an
oblique affine to float32 gives 1e-6, the sheared file of the tests 0.317."""

FORMS_TOLERANCE_MM: Final = 0.1
"""Rounding of a quaternion to float32 moves a corner by 0.005 mm; more apart is noted."""

_SIZE_TOLERANCE: Final = 0.01
_SMALLEST_VOXEL_MM: Final = 0.01
_LARGEST_VOXEL_MM: Final = 50.0
_LARGEST_OFFSET: Final = 1 << 28
_PAIR_NAME = re.compile(r"(.*\.)(hdr|img)((?:\.gz)?)", re.IGNORECASE | re.DOTALL)
_MGH_NAME = re.compile(r"\.(mgz|mgh|mgh\.gz)$", re.IGNORECASE)
_MOST_REMARKS = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


def read_nifti(path: str | os.PathLike[str], *, frame: int | None = None) -> Volume:
    """Read one 3D image of a NIfTI or FreeSurfer file, on its own grid.

    Args:
        path: A NIfTI-1 or NIfTI-2 file of either byte order, the ``.hdr`` or ``.img`` of a pair, or
            a ``.mgh`` or ``.mgz`` file. Its content, not its name, tells if it is gzip.
        frame: Number of the image in a 4D file, from 0. It may be None if there is only one.

    Returns:
        The volume. Its data are float32 of shape (z, y, x), the file's (k, j, i), with scl_slope
        and scl_inter applied. NaN and Inf became 0. `notes` says what was changed or is unknown.

    Raises:
        UnreadableFile: If the file is missing, truncated, corrupted, or neither NIfTI nor MGH.
        InputRefused: If it holds complex or colour values, lies on a sheared grid, is not 3D, or
            holds several images of which none is chosen.
        UsageError: If `frame` does not exist in the file.
    """
    source, voxels = files_of(Path(path))
    mgh = _MGH_NAME.search(source.name) is not None
    notes: list[str] = []
    with ExitStack() as files:
        stream = files.enter_context(_opened(source))
        start = stream.read(NIFTI2_BYTES)
        header = parse_mgh_header(start) if mgh else parse_header(start, pair=voxels != source)
        if header is None:
            raise UnreadableFile(_no_header(source, voxels))
        affine, forms = _place(header, source, notes)
        chosen = _choose_frame(header, frame, source, notes)
        if voxels != source:
            stream = files.enter_context(_opened(voxels))
        raw = _stored_values(stream, header, chosen, voxels)
        # At the end of gzip this compares the check sum. MGH may end with remarks.
        last = chosen + 1 == math.prod(header.shape_ijk[3:])
        if last and stream.read(_MOST_REMARKS if mgh else 1) and not mgh:
            notes.append("the file goes on after what its header states; the rest was not read")
    data = _to_float32(raw, header, source)
    _replace_non_finite(data, notes)
    return Volume(
        data, affine[:, [2, 1, 0, 3]], printable(source.name), tuple(notes), None if mgh else forms
    )


def files_of(path: Path) -> tuple[Path, Path]:
    """Return the files of header and voxels: one file twice, or a pair ``.hdr`` and ``.img``.

    Examples:
        >>> [file.name for file in files_of(Path("a.img.gz"))]
        ['a.hdr.gz', 'a.img.gz']
    """
    pair = _PAIR_NAME.fullmatch(path.name)
    if pair is None:
        return path, path
    start, kind, end = pair.groups()
    names = [word.upper() if kind.isupper() else word for word in ("hdr", "img")]
    return path.with_name(f"{start}{names[0]}{end}"), path.with_name(f"{start}{names[1]}{end}")


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    """Open a file. If it is gzip, it is decompressed as far as it is read."""
    try:
        with source.open("rb") as packed:
            zipped = packed.read(2) == _GZIP_MAGIC
            packed.seek(0)
            if not zipped:
                yield packed
                return
            with igzip.open(packed, "rb") as stream:  # type: ignore[no-untyped-call]
                yield stream
    except EOFError as error:
        raise UnreadableFile(
            f"{source} is truncated: its gzip stream ends after {source.stat().st_size} bytes "
            "without an end mark; copy or download it again"
        ) from error
    except (igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]  # wrong stub
        raise UnreadableFile(f"{source} is damaged (gzip: {error}); copy it again") from error
    except OSError as error:
        raise UnreadableFile(f"cannot read {source}: {error.strerror or error}") from error


def _no_header(source: Path, voxels: Path) -> str:
    what = "a NIfTI file (single file, version 1 or 2)"
    if _MGH_NAME.search(source.name):
        what = "an MGH file (version 1)"
    elif voxels != source:
        what = "a NIfTI header (version 1 or 2; ANALYZE does not say which side is left)"
    return f"{source} is not {what}; convert it, for example with dcm2niix, to .nii.gz"


def _place(
    header: NiftiHeader, source: Path, notes: list[str]
) -> tuple[NDArray[np.float64], HeaderForms]:
    """Index (i, j, k) to RAS+ mm: sform, else qform, else the voxel sizes alone."""
    qform = _qform(header, source, notes) if header.qform_code > 0 else None
    sform = header.sform() if header.sform_code > 0 else None
    affine = next((form for form in (sform, qform) if form is not None), None)
    if affine is None:
        affine = header.unplaced()
        notes.append(NO_ORIENTATION)
    unit_mm = _unit_mm(header, affine, notes)
    affine, qform, sform = (_scaled(form, unit_mm) for form in (affine, qform, sform))
    _require_right_angles(affine, source)
    forms = HeaderForms(
        qform=qform,
        sform=sform,
        qform_code=0 if qform is None else header.qform_code,
        sform_code=max(header.sform_code, 0),
        unit_code=header.unit_code or MILLIMETRES,
        unit_mm=unit_mm,
    )
    _compare(forms, header, notes)
    return affine, forms


def _qform(header: NiftiHeader, source: Path, notes: list[str]) -> NDArray[np.float64] | None:
    try:
        qform = header.qform()
    except ValueError as error:
        if header.sform_code > 0:
            notes.append(f"the quaternion of the header is invalid ({error}); the sform was read")
            return None
        raise InputRefused(
            f"{source}: the quaternion of the header is invalid ({error}) and there is no "
            "sform, so the orientation is unknown; repair the header"
        ) from error
    if header.sform_code > 0 and not abs(np.linalg.det(qform[:3, :3])) > 0:
        notes.append("the voxel sizes of the header's qform are 0; the sform was read")
        return None
    return qform


def _unit_mm(header: NiftiHeader, affine: NDArray[np.float64], notes: list[str]) -> float:
    """Length of the header's unit, unless no head has voxels of such a size."""
    unit_mm = UNIT_MM.get(header.unit_code, 1.0)
    if unit_mm == 1.0:
        return 1.0
    name = {1000.0: "metres", 0.001: "microns"}[unit_mm]
    sizes_mm = np.linalg.norm(affine[:3, :3], axis=0) * unit_mm
    if sizes_mm.min() >= _SMALLEST_VOXEL_MM and sizes_mm.max() <= _LARGEST_VOXEL_MM:
        notes.append(f"the header states {name}; sizes and places were turned to mm")
        return unit_mm
    notes.append(
        f"the header states {name}, but no head has voxels of {sizes_mm.max():g} mm: its numbers "
        "were taken for mm"
    )
    return 1.0


def _scaled(form: NDArray[np.float64] | None, unit_mm: float) -> Any:
    return None if form is None else np.diag([unit_mm, unit_mm, unit_mm, 1.0]) @ form


def _compare(forms: HeaderForms, header: NiftiHeader, notes: list[str]) -> None:
    """Note where a program that reads the header otherwise sees the image at another place."""
    if forms.sform is None:
        return
    if forms.qform is None:
        stated, used = header.sizes() * forms.unit_mm, np.linalg.norm(forms.sform[:3, :3], axis=0)
        if not np.allclose(stated, used, rtol=_SIZE_TOLERANCE, atol=0):
            notes.append(
                f"the voxel sizes of the header ({_by(stated)} mm) are not those of its sform "
                f"({_by(used)} mm), which were used"
            )
        return
    last = np.array([*header.shape_ijk, 1, 1, 1][:3]) - 1
    corners = np.array([(*(last * corner), 1) for corner in np.ndindex(2, 2, 2)], np.float64)
    apart = np.linalg.norm((corners @ (forms.qform - forms.sform).T)[:, :3], axis=1).max()
    if apart > FORMS_TOLERANCE_MM:
        notes.append(
            f"qform (code {forms.qform_code}) and sform (code {forms.sform_code}) of the header "
            f"place the image up to {apart:.1f} mm apart; the sform was used, and results state "
            "both as the scan does"
        )


def _by(sizes_mm: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes_mm)


def _require_right_angles(affine: NDArray[np.float64], source: Path) -> None:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.all(np.isfinite(affine)) or lengths.min() < 1e-6:
        raise InputRefused(
            f"voxel sizes must be positive mm, got {tuple(lengths.round(6).tolist())} in {source}"
        )
    directions = affine[:3, :3] / lengths
    cosines = np.abs(directions.T @ directions - np.eye(3))
    if cosines.max() > SHEAR_TOLERANCE:
        first, second = sorted(np.unravel_index(int(cosines.argmax()), (3, 3)))
        angle = float(np.degrees(np.arccos(np.clip(cosines.max(), 0.0, 1.0))))
        raise InputRefused(
            f"{source} lies on a sheared grid: axes {'ijk'[first]} and {'ijk'[second]} meet at "
            f"{angle:.1f} degrees (cosine {cosines.max():.3f}) where 90 are required; "
            "resample it to a rectangular grid first"
        )


def _choose_frame(header: NiftiHeader, frame: int | None, source: Path, notes: list[str]) -> int:
    """Which image to read, from the header alone."""
    shape = header.shape_ijk
    if not shape or min(shape) < 1 or not 0 <= header.offset_bytes <= _LARGEST_OFFSET:
        raise UnreadableFile(
            f"{source}: the NIfTI header states the shape {shape}, from byte "
            f"{header.offset_bytes} on"
        )
    if len(shape) < 3:
        raise InputRefused(f"a 3D image is required, got shape {shape} in {source}")
    if math.prod(shape[:3]) > MOST_VOXELS:
        raise InputRefused(
            f"at most {MOST_VOXELS} voxels are read, the header states {shape} in {source}"
        )
    count = math.prod(shape[3:])
    if frame is None and count > 1:
        raise InputRefused(
            f"{source} holds {count} images (shape {shape}) and one is required; choose "
            f"one of 0..{count - 1}; they are never averaged",
            argument="frame",
        )
    chosen = frame or 0
    if not 0 <= chosen < count:
        raise UsageError(f"frame 0..{count - 1} is required, got {chosen}, in {source}")
    if count > 1:
        notes.append(f"image {chosen} of {count} was read")
    return chosen


def _stored_values(stream: BinaryIO, header: NiftiHeader, frame: int, source: Path) -> NDArray[Any]:
    """One image as stored, shape (k, j, i); no more of the file is read than that takes."""
    dtype, shape = header.dtype, header.shape_ijk[:3]
    if dtype is None:
        raise UnreadableFile(f"{source}: the NIfTI header is invalid: unknown type of voxels")
    if dtype.kind == "c":
        raise InputRefused(
            f"{source} holds complex numbers ({dtype.name}); real magnitude or SWI is required"
        )
    if dtype.kind not in "iuf":
        raise InputRefused(f"{source} holds colour or other compound values; grey is required")
    required = math.prod(shape) * dtype.itemsize
    stream.seek(header.offset_bytes + frame * required)
    content = np.empty(required, np.uint8)
    got = stream.readinto(content.data)  # type: ignore[attr-defined]  # of the two kinds opened
    if got < required:
        raise UnreadableFile(
            f"{source} is truncated: {required} bytes of voxels are required for shape {shape} "
            f"of {dtype.name}, got {got}"
        )
    return content.view(dtype).reshape(shape[::-1])


def _to_float32(raw: NDArray[Any], header: NiftiHeader, source: Path) -> NDArray[np.float32]:
    """Apply the header's scaling; slope 0 or NaN means none (NIfTI-1 standard)."""
    slope, inter = header.slope, header.inter
    if slope == 0 or np.isnan(slope):
        slope, inter = 1.0, 0.0
    inter = 0.0 if np.isnan(inter) else inter
    if not (np.isfinite(slope) and np.isfinite(inter)):
        raise UnreadableFile(f"{source}: scl_slope {slope} and scl_inter {inter} must be finite")
    data = np.empty(raw.shape, np.float32)
    exact = raw.dtype.itemsize <= 2 or raw.dtype == np.dtype("f4").newbyteorder(raw.dtype.byteorder)

    def scale(slab: slice) -> None:
        target, stored = data[slab], raw[slab]
        with np.errstate(over="ignore", invalid="ignore"):
            if (slope, inter) == (1.0, 0.0):
                np.copyto(target, stored, casting="unsafe")
            elif exact:
                np.multiply(stored, np.float32(slope), out=target, casting="unsafe")
                target += np.float32(inter)
            else:  # in double: a large offset must not eat the contrast
                target[...] = stored.astype(np.float64) * slope + inter

    in_slabs(scale, len(raw))
    return data


def _replace_non_finite(data: NDArray[np.float32], notes: list[str]) -> None:
    """Set NaN and Inf to 0 in place and say how many there were."""

    def total(slab: slice) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(data[slab].sum(dtype=np.float64))

    # A sum is finite unless a value is not, or it overflows: then look closely.
    if np.all(np.isfinite(in_slabs(total, len(data)))):
        return
    nan = np.isnan(data)
    infinite = np.isinf(data)
    for mask, name in ((nan, "NaN"), (infinite, "infinite")):
        count = int(np.count_nonzero(mask))
        if count:
            data[mask] = 0
            notes.append(f"{count} voxels were {name} and became 0")
