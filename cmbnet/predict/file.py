"""From a file to a `Prediction`."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cmbnet.io import read_nifti
from cmbnet.predict.pipeline import predict_volume
from cmbnet.predict.prediction import InputRecord, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable

    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle
    from cmbnet.volume import Volume


def record_of(
    path: Path, *, frame: int | None = None, brain_mask: Path | None = None
) -> InputRecord:
    """Hash the files that a prediction would read.

    Raises:
        OSError: If one cannot be read.
    """
    return InputRecord(
        file=path.name,
        sha256=_sha256(path),
        frame=frame,
        brain_mask_sha256=None if brain_mask is None else _sha256(brain_mask),
    )


def predict_file(
    path: str | Path,
    bundle: Bundle,
    backend: Backend,
    *,
    operating_point: str = "default",
    brain_mask: str | Path | None = None,
    frame: int | None = None,
    force: bool = False,
    read: Callable[[], Volume] | None = None,
) -> Prediction:
    """Read a NIfTI file and find microbleeds on it; see `predict_volume`.

    Args:
        path: The file.
        bundle: The model.
        backend: Opened for this bundle.
        operating_point: Name of a set of thresholds of the bundle.
        brain_mask: A file on the grid of the scan; by default the brain is estimated.
        frame: Which image of a 4D file, from 0.
        force: Answer even on what is not analysable.
        read: Gives the volume of `path` where a caller has begun to read it ahead.

    Raises:
        UnreadableFile: If the file is missing, truncated or not NIfTI.
        InputRefused: If it is read but cannot be answered on.
    """
    start = time.perf_counter()
    source = Path(path)
    mask_file = None if brain_mask is None else Path(brain_mask)
    volume = read_nifti(source, frame=frame) if read is None else read()
    mask = None if mask_file is None else read_nifti(mask_file)
    record = record_of(source, frame=frame, brain_mask=mask_file)
    read_s = round(time.perf_counter() - start, 4)
    prediction = predict_volume(
        volume,
        bundle,
        backend,
        operating_point=operating_point,
        brain_mask=mask,
        force=force,
        record=record,
    )
    return replace(prediction, timings_s={"read": read_s, **prediction.timings_s})


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
