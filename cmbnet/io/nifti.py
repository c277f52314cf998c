"""NIfTI-1 and NIfTI-2 files in: one 3D image of real numbers, or a sentence why not.

The file's index order ``(i, j, k)`` is turned to ``(k, j, i)`` here, which costs nothing (the
file stores i fastest), and no further: axis order and flips are those of the file.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from isal import isal_zlib

from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.io.nifti_header import NIFTI2_BYTES, NiftiHeader, parse_header
from cmbnet.threads import in_slabs
from cmbnet.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_ORIENTATION: Final = (
    "the header holds no orientation (qform_code and sform_code are 0): left and right are unknown"
)
"""Note on a volume whose header places it nowhere; `write_nifti` then claims no place either."""

SHEAR_TOLERANCE: Final = 0.01
"""Largest cosine between two grid axes. 0.01 is 0.6 degrees, 2 mm over a head; rounding of an
oblique affine to float32 gives 1e-6, the sheared file of the tests 0.317."""

_GZIP_MAGIC = b"\x1f\x8b"
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_nifti(path: str | os.PathLike[str], *, frame: int | None = None) -> Volume:
    """Read one 3D image of a ``.nii`` or ``.nii.gz`` file, on its own grid.

    Args:
        path: NIfTI-1 or NIfTI-2, either byte order, plain or gzip (told by content, not name).
        frame: Which image of a 4D file, from 0. May be left out where there is only one.

    Returns:
        float32 data of shape (z, y, x) = the file's (k, j, i) with scl_slope and scl_inter
        applied; NaN and Inf became 0. `notes` says what was changed or is unknown.

    Raises:
        UnreadableFile: Missing, truncated, corrupted, or not single-file NIfTI.
        InputRefused: Complex or colour values, a sheared grid, not 3D, or several frames and
            none chosen.
        UsageError: `frame` does not exist in the file.
    """
    source = Path(path)
    content = _read_bytes(source)
    header = _parse_header(content, source)
    notes: list[str] = []
    affine = _affine(header, source, notes)
    raw = _stored_values(content, header, source)
    raw = _choose_frame(raw, frame, source, notes)
    data = _to_float32(raw, header, source)
    _replace_non_finite(data, notes)
    return Volume(data, affine[:, [2, 1, 0, 3]], source.name, tuple(notes))


def _read_bytes(source: Path) -> bytes | memoryview:
    """The whole file, decompressed. One call is faster than a stream of gzip."""
    try:
        packed = source.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"cannot read {source}: {error.strerror or error}") from error
    if not packed.startswith(_GZIP_MAGIC):
        return packed
    parts = []
    rest = packed
    try:
        while rest.startswith(_GZIP_MAGIC):  # gzip files may be concatenated
            stream = isal_zlib.decompressobj(wbits=isal_zlib.MAX_WBITS | 16)
            parts.append(stream.decompress(rest))
            if not stream.eof:
                raise UnreadableFile(
                    f"{source} is truncated: its gzip stream ends after {len(packed)} bytes "
                    "without an end mark; copy or download it again"
                )
            rest = stream.unused_data
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub takes it for an instance
        raise UnreadableFile(f"{source} is damaged (gzip: {error}); copy it again") from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _parse_header(content: bytes | memoryview, source: Path) -> NiftiHeader:
    header = parse_header(bytes(content[:NIFTI2_BYTES]))
    if header is None:
        raise UnreadableFile(
            f"{source} is not a NIfTI file (single file, version 1 or 2); convert it, for example "
            "with dcm2niix, to .nii.gz"
        )
    return header


def _affine(header: NiftiHeader, source: Path, notes: list[str]) -> NDArray[np.float64]:
    """Index (i, j, k) to RAS+ mm: sform, else qform, else the voxel sizes alone."""
    if header.sform_code > 0:
        affine = header.sform()
    elif header.qform_code > 0:
        try:
            affine = header.qform()
        except ValueError as error:
            raise InputRefused(
                f"{source}: the quaternion of the header is invalid ({error}) and there is no "
                "sform, so the orientation is unknown; repair the header"
            ) from error
    else:
        affine = header.unplaced()
        notes.append(NO_ORIENTATION)
    _require_right_angles(affine, source)
    return affine


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


def _stored_values(content: bytes | memoryview, header: NiftiHeader, source: Path) -> NDArray[Any]:
    """The array as stored, shape (..., k, j, i), a view of the file's bytes."""
    dtype, shape = header.dtype, header.shape_ijk
    if dtype is None:
        raise UnreadableFile(f"{source}: the NIfTI header is invalid: unknown type of voxels")
    if dtype.kind == "c":
        raise InputRefused(
            f"{source} holds complex numbers ({dtype.name}); real magnitude or SWI is required"
        )
    if dtype.kind not in "iuf":
        raise InputRefused(f"{source} holds colour or other compound values; grey is required")
    offset = header.offset_bytes
    required = math.prod(shape) * dtype.itemsize
    if not shape or min(shape) < 1 or offset < 0:
        raise UnreadableFile(f"{source}: the NIfTI header states the shape {shape}")
    if len(content) - offset < required:
        raise UnreadableFile(
            f"{source} is truncated: {required} bytes of voxels are required for shape {shape} "
            f"of {dtype.name}, got {max(len(content) - offset, 0)}"
        )
    count = required // dtype.itemsize
    return np.frombuffer(content, dtype, count=count, offset=offset).reshape(shape[::-1])


def _choose_frame(
    raw: NDArray[Any], frame: int | None, source: Path, notes: list[str]
) -> NDArray[Any]:
    """One 3D image of shape (k, j, i)."""
    if raw.ndim < 3:
        raise InputRefused(f"a 3D image is required, got shape {raw.shape[::-1]} in {source}")
    frames = raw.reshape(-1, *raw.shape[-3:])
    count = len(frames)
    if frame is None and count > 1:
        raise InputRefused(
            f"{source} holds {count} images (shape {raw.shape[::-1]}) and one is required; choose "
            f"one of 0..{count - 1} with --frame; they are never averaged"
        )
    chosen = frame or 0
    if not 0 <= chosen < count:
        raise UsageError(f"frame 0..{count - 1} is required, got {chosen}, in {source}")
    if count > 1:
        notes.append(f"image {chosen} of {count} was read")
    selected: NDArray[Any] = frames[chosen]
    return selected


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
