"""From a file to a `Prediction`."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cmbnet.errors import printable
from cmbnet.io.digest import content_sha256
from cmbnet.io.nifti import read_nifti
from cmbnet.io.scan import LoadedScan, is_dicom, read_scan
from cmbnet.predict.phase import remarked
from cmbnet.predict.pipeline import steps_of_volume
from cmbnet.predict.prediction import InputRecord, Prediction
from cmbnet.predict.request import PLAIN, Request
from cmbnet.preprocess.qc import Finding, Severity
from cmbnet.threads import Steps, finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle
    from cmbnet.volume import Volume


STAGES: Final = 3
"""Of a case: reading and preprocessing; the network; lesions and what follows."""


def record_of(
    path: Path, *, brain_mask: Path | None = None, phase: Path | None = None
) -> InputRecord:
    """Hash the files that a prediction would read.

    Raises:
        OSError: If one cannot be read.
    """
    return InputRecord(
        file="" if is_dicom(path) else printable(path.name),
        sha256=content_sha256(path),
        brain_mask_sha256=None if brain_mask is None else content_sha256(brain_mask),
        phase_sha256=None if phase is None else content_sha256(phase),
    )


def predict_file(
    path: str | Path,
    bundle: Bundle,
    backend: Backend,
    request: Request = PLAIN,
    *,
    brain_mask: str | Path | None = None,
    phase: str | Path | None = None,
    read: Callable[[], LoadedScan] | None = None,
) -> Prediction:
    """Read a NIfTI file or a DICOM series and find microbleeds on it.

    Args:
        path: The file; for DICOM a folder, zip, DICOMDIR or file.
        bundle: The model.
        backend: Opened for this bundle.
        request: Which image of the file or series to read, and how to look at it.
        brain_mask: A file on the grid of the scan; by default the brain is estimated.
        phase: A file of the phase of the same acquisition, on the grid of the scan.
        read: Gives the scan of `path` where a caller has begun to read it ahead.

    Raises:
        UnreadableFile: If the file is missing, truncated, or neither NIfTI nor DICOM.
        InputRefused: If it is read but cannot be answered on; `NotAnalysable` if that is for its
            quality.
    """
    steps = steps_of_file(
        path, bundle, backend, request, brain_mask=brain_mask, phase=phase, read=read
    )
    return finished(steps)


def steps_of_file(
    path: str | Path,
    bundle: Bundle,
    backend: Backend,
    request: Request = PLAIN,
    *,
    brain_mask: str | Path | None = None,
    phase: str | Path | None = None,
    read: Callable[[], LoadedScan] | None = None,
) -> Steps[Prediction]:
    """Do the same in three stages: before the network, the network, and after it."""
    start = time.perf_counter()
    source = Path(path)
    mask_file, phase_file = (None if file is None else Path(file) for file in (brain_mask, phase))
    with ThreadPoolExecutor(1, thread_name_prefix="hash") as beside:
        hashing = beside.submit(record_of, source, brain_mask=mask_file, phase=phase_file)
        scan = read_as_asked(source, request) if read is None else read()
        mask = None if mask_file is None else read_nifti(mask_file)
        if phase_file is not None:
            scan = replace(scan, phase=read_nifti(phase_file), no_phase="")
    record = replace(hashing.result(), dicom=scan.dicom)
    read_s = round(time.perf_counter() - start, 4)
    steps = steps_of_scan(scan, bundle, backend, request, brain_mask=mask, record=record)
    prediction = yield from steps
    return replace(prediction, timings_s={"read": read_s, **prediction.timings_s})


def read_as_asked(path: Path, request: Request) -> LoadedScan:
    """Read the scan of a path, and for DICOM its phase, as a request says. See `read_scan`."""
    return read_scan(
        path, frame=request.frame, series=request.series, phase_series=request.phase_series
    )


def steps_of_scan(
    scan: LoadedScan,
    bundle: Bundle,
    backend: Backend,
    request: Request = PLAIN,
    *,
    brain_mask: Volume | None = None,
    record: InputRecord | None = None,
) -> Steps[Prediction]:
    """Do the same for a scan that was read, with its phase."""
    prediction = yield from steps_of_volume(
        scan.volume,
        bundle,
        backend,
        request,
        brain_mask=brain_mask,
        phase=scan.phase,
        record=record,
    )
    if not scan.no_phase:
        return prediction
    severity: Severity = "info" if request.phase_series is None else "warning"
    return remarked(prediction, Finding("no_phase", severity, scan.no_phase))
