"""The forms of a scan: a path, an image of another library, or an array with an affine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmbnet.errors import UsageError
from cmbnet.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

AnyScan = Any
"""`str`, `os.PathLike`, `Volume`, a nibabel image, a SimpleITK image, or (array, affine)."""


def volume_of(scan: AnyScan) -> Volume:
    """Return a scan that is in memory as a `Volume`.

    Args:
        scan: A `Volume`, a nibabel image, a `SimpleITK.Image`, or a pair of an array of shape
            (i, j, k) and a 4x4 affine from (i, j, k, 1) to RAS+ mm, as nibabel has them.

    Raises:
        UsageError: If the scan has none of these forms.
        InputRefused: If the scan is not 3D, or the affine is wrong.
    """
    if isinstance(scan, Volume):
        return scan
    if hasattr(scan, "dataobj") and hasattr(scan, "affine"):
        return Volume.from_nibabel(scan)
    if hasattr(scan, "GetDirection") and hasattr(scan, "GetSpacing"):
        return Volume.from_sitk(scan)
    if isinstance(scan, tuple) and len(scan) == 2:
        return _of_pair(scan)
    raise UsageError(
        "a scan is a path, a Volume, a nibabel image, a SimpleITK image, or a pair of an array "
        f"(i, j, k) and its affine; got {type(scan).__name__}"
    )


def path_of(scan: AnyScan) -> Path | None:
    """Return the path if the scan is given by one, else None."""
    return Path(scan) if isinstance(scan, str | os.PathLike) else None


def _of_pair(pair: Sequence[Any]) -> Volume:
    array, affine = np.asarray(pair[0]), np.asarray(pair[1])
    if affine.shape != (4, 4):
        raise UsageError(
            "a pair of an array (i, j, k) and its 4x4 affine is required, got an affine of shape "
            f"{affine.shape}"
        )
    return Volume.from_array(array, affine)
