"""NIfTI files out, on the grid of the input, the same bytes for the same volume."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from isal import isal_zlib

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import UsageError
from cmbnet.io.atomic import write_bytes_atomically
from cmbnet.io.nifti import NO_ORIENTATION
from cmbnet.io.nifti_header import build_header

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from cmbnet.volume import Volume

COMPRESSION_LEVEL: Final = 1
"""Level of ISA-L, from 0 to 3. It is ten times as fast as zlib's level 1 for files as small."""


def write_nifti(volume: Volume, path: str | os.PathLike[str], *, dtype: DTypeLike) -> None:
    """Write a volume as NIfTI-1 with the axis order it was read with, atomically.

    One that was read from NIfTI keeps that file's qform, sform, their codes and the unit.

    Args:
        volume: The image; its (z, y, x) becomes the file's (k, j, i).
        path: Ends in ``.nii`` or ``.nii.gz``; the latter is compressed.
        dtype: Stored type. Values must fit it exactly; floats are not rounded to integers.

    Raises:
        UsageError: Another suffix, or values that the type cannot hold.
        OSError: If the file system refuses.
    """
    target = Path(path)
    if not target.name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"a name that ends in .nii or .nii.gz is required, got {target.name}")
    stored = _cast(volume.data, np.dtype(dtype), target)
    header = build_header(
        volume.shape[::-1],
        stored.dtype,
        volume.affine[:, [2, 1, 0, 3]],
        # A file that claimed no orientation gets none: viewers then lay both over each other.
        code=0 if NO_ORIENTATION in volume.notes else 1,
        description=RESEARCH_USE_ONLY,
        forms=volume.forms,
    )
    voxels = stored.reshape(-1).view(np.uint8).data
    if target.name.endswith(".gz"):
        # No name and no time in the gzip header: the same volume gives the same bytes.
        wbits = isal_zlib.MAX_WBITS | 16
        packer = isal_zlib.compressobj(COMPRESSION_LEVEL, isal_zlib.DEFLATED, wbits)
        content = packer.compress(header) + packer.compress(voxels) + packer.flush()
    else:
        content = b"".join((header, voxels))
    write_bytes_atomically(target, content)


def _cast(data: NDArray[Any], dtype: np.dtype[Any], target: Path) -> NDArray[Any]:
    """The values as the file stores them: little-endian, in C order (z, y, x)."""
    wanted = dtype.newbyteorder("<")
    if wanted.kind in "iu" and data.size and data.dtype != np.bool_:
        limits = np.iinfo(wanted)
        low, high = data.min(), data.max()
        if not (low >= limits.min and high <= limits.max):
            raise UsageError(
                f"{target}: values in {limits.min}..{limits.max} are required for {dtype.name}, "
                f"got {low}..{high}"
            )
    stored = np.ascontiguousarray(data, wanted)
    if wanted.kind in "iu" and data.dtype.kind == "f" and not np.array_equal(stored, data):
        raise UsageError(f"{target}: whole numbers are required to store {dtype.name}")
    return stored
